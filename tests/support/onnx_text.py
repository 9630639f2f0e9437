"""Models as ONNX text, and what a rule's tests ask of them.

A rule has at least three tests: one where it fires, one where it must not, one that misses the pattern by a little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.model_io import model_file
from onnxslim.simplification.fixpoint import NOT_UNDERSTOOD
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.equality import run, same

#: These tests are about rewrites, not about the bytes a tiny file may grow by.
ROOM = SimplifyOptions(max_fold_bytes=1 << 20)


def build(text: str, *, opset: int = 17, ir_version: int = 8, **arrays: np.ndarray) -> ir.Model:
    """The graph of ``text`` (``(float[N,3] x) => (float[N,3] y) { y = Relu(x) }``) with ``arrays`` as initializers."""
    header = f'<ir_version: {ir_version}, opset_import: ["" : {opset}, "custom" : 1]>'
    proto = onnx.parser.parse_model(f"{header} test {text}")
    proto.graph.initializer.extend(numpy_helper.from_array(np.asarray(a), name) for name, a in arrays.items())
    return model_file.load(proto)


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    """Random float32 numbers, none of them near zero."""
    rng = np.random.default_rng(seed)
    return (rng.uniform(0.5, 1.5, shape) * rng.choice([-1, 1], shape)).astype(np.float32)


def feeds(model: ir.Model, free: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs; every free dimension is ``free``."""
    rng = np.random.default_rng(seed)
    found = {}
    for value in shapes.get_required_inputs(model):
        names = {dim: free for dim in shapes.get_dims(value) or () if isinstance(dim, str)}
        size = shapes.resolve_sizes(value, names)
        assert value.dtype is not None
        dtype = value.dtype.numpy()
        array = rng.standard_normal(size) if dtype.kind == "f" else rng.integers(0, 2, size)
        found[str(value.name)] = array.astype(dtype)
    return found


def fires(rule: str, model: ir.Model, ops: str, options: SimplifyOptions = ROOM) -> StepReport:
    """``rule`` fires, the outputs stay equal for two sizes, and ``ops`` are what is left, in order."""
    report = _equal(model, options)
    assert rule in report.changed, report
    left = " ".join(node.op_type for node in simplify(model, options)[0].graph.all_nodes())
    assert left == ops, left
    return report


def rests(
    rule: str,
    model: ir.Model,
    reason: str | None = None,
    options: SimplifyOptions = ROOM,
    *,
    kept_inputs: Sequence[str] = (),
) -> None:
    """``rule`` does not fire; with ``reason``, the report says why. ``kept_inputs`` stay inputs."""
    report = _equal(model, options, kept_inputs)
    assert rule not in report.changed, report
    reasons = [skipped.reason for skipped in report.skipped]
    assert reason is None or any(reason in given for given in reasons), reasons


def _equal(model: ir.Model, options: SimplifyOptions, kept_inputs: Sequence[str] = ()) -> StepReport:
    result, report = simplify(model, options, kept_inputs=kept_inputs)
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(result)))
    for free in (2, 3):
        fed = feeds(model, free)
        before, after = run(model, fed), run(result, fed)
        assert list(before) == list(after)
        assert all(same(before[name], after[name]) for name in before), report.changed
    assert not any(NOT_UNDERSTOOD in skipped.reason for skipped in report.skipped), report.skipped
    return report


def equal(before: ir.Model, after: ir.Model) -> None:
    fed = feeds(before, 2)
    one, two = run(before, fed), run(after, fed)
    assert list(one) == list(two)
    assert all(same(one[name], two[name]) for name in one)
