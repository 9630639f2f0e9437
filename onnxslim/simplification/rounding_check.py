"""Whether a model bears being rounded differently.

Folding a BatchNormalization into a Conv is exact in the reals and moves the last bits in float32. A network that
saturates (a sigmoid far out on its tail) can turn those bits into percents of its largest output. No rule sees that
locally, so the step measures it once: both forms run unoptimised on one seeded random input, if that is sure to be
small and to end.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import difference, is_float
from onnxslim.core.errors import OnnxslimError
from onnxslim.graph import shapes
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR
from onnxslim.runtime.session import Session, SessionConfig

#: max|a - b| / max|a| above which two outputs are not equal (the contract's "equal"), and with half-precision weights.
TOLERANCE = 1e-4
HALF_TOLERANCE = 1e-2
HALF_TYPES = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

#: Bytes of weights, and of all tensors computed on the way, up to which a model is run.
MAX_WEIGHT_BYTES = 500_000_000
MAX_TENSOR_BYTES = 1 << 30

#: Sizes tried for free dimensions, until the model runs: 1 (and 224 for images), then something divisible.
FREE_DIM_SIZES = (None, 64, 512)

#: Ops that may not end.
LOOP_OPS = ("Loop", "Scan")


def get_tolerance(model: ir.Model) -> float:
    """Up to which difference two forms of ``model`` count as equal."""
    constants = (value.const_value for value in model.graph.initializers.values())
    return HALF_TOLERANCE if any(c is not None and c.dtype in HALF_TYPES for c in constants) else TOLERANCE


def can_run_small(model: ir.Model) -> bool:
    """Whether ``model`` is sure to end, and to compute nothing large on the way, for some size of its free dimensions."""
    return not _may_not_end(model) and any(_make_feeds(model, size) is not None for size in FREE_DIM_SIZES)


def measure_difference(before: ir.Model, after: ir.Model, weight_bytes: int) -> float | None:
    """The largest max|a - b| / max|a| over the float outputs; None when ``before`` is too large or does not run."""
    if weight_bytes > MAX_WEIGHT_BYTES or _may_not_end(before):
        return None
    unoptimized = SessionConfig(optimize=False)
    try:
        session_before, session_after = (Session(_with_free_initializers(model), unoptimized) for model in (before, after))
        for size in FREE_DIM_SIZES:
            feeds = _make_feeds(before, size)
            if feeds is None:
                continue
            try:
                expected = session_before.run(feeds)
            except OnnxslimError:
                continue
            actual = session_after.run(feeds)
            return max((_relative_difference(expected[name], actual[name]) for name in expected), default=0.0)
    except OnnxslimError:
        return None
    return None


def _may_not_end(model: ir.Model) -> bool:
    return any(node.domain or node.op_type in LOOP_OPS for node in walk(model.graph))


def _with_free_initializers(model: ir.Model) -> ir.Model:
    """``model`` at an IR version where initializers need not be inputs; its graph is shared."""
    ir_version = max(model.ir_version, FREE_INITIALIZERS_IR)
    return ir.Model(model.graph, ir_version=ir_version, functions=list(model.functions.values()))


def _make_feeds(model: ir.Model, size: int | None) -> dict[str, np.ndarray] | None:
    """Random inputs with free dimensions of ``size``, when all that is computed from them is known to be small."""
    bound = model_file.clone(model)
    inputs = shapes.get_required_inputs(bound)
    if any(value.dtype is None or value.dtype is ir.DataType.STRING or value.shape is None for value in inputs):
        return None
    names = {dim for value in inputs for dim in shapes.get_dims(value) or () if isinstance(dim, str)}
    shapes.bind(bound, None if size is None else dict.fromkeys(names, size))
    sizes = [shapes.get_nbytes(output) for node in walk(bound.graph) for output in node.outputs if output.name]
    total = sum(each for each in sizes if each is not None)
    if None in sizes or total + sum(shapes.get_nbytes(value) or 0 for value in inputs) > MAX_TENSOR_BYTES:
        return None
    rng, feeds = np.random.default_rng(0), {}
    for value in inputs:
        assert value.dtype is not None
        dims = shapes.resolve_sizes(value)
        # an index or a mask is valid at 0 and 1
        array = rng.standard_normal(dims) if value.dtype.is_floating_point() else rng.integers(0, 2, dims)
        feeds[str(value.name)] = np.asarray(array, value.dtype.numpy())
    return feeds


def _relative_difference(before: Any, after: Any) -> float:
    if not is_float(before) or not isinstance(after, np.ndarray):
        return 0.0
    if before.shape != after.shape:
        return float("inf")
    if not before.size:
        return 0.0
    largest = float(np.abs(before[np.isfinite(before)]).max(initial=0.0))
    return float(np.abs(difference(before, after)).max() / max(largest, np.finfo(np.float32).tiny))
