"""ONNX's own node cases through the whole simplifier: none may change its result.

Each case is taken as it is, with all inputs but the first made constant (so that shapes and parameters fold into what
depends on data), and with all of them made constant (so that everything folds). A plain run takes one of the three for
each case, in turn; the nightly run takes all. What the runtime cannot run goes through ONNX's reference implementation.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from onnxslim.core.errors import UnsupportedError
from onnxslim.model_io import model_file
from onnxslim.simplification.fixpoint import NOT_UNDERSTOOD
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.equality import run, same

#: How many of the inputs stay inputs.
KEPT = {"as it is": 1000, "but the first": 1, "all constant": 0}

#: Of the cases of onnx 1.18 to 1.23, how many must at least have been compared for this test to mean something.
COMPARED = 1500

Way = Callable[[onnx.ModelProto], list[Any]]


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    with np.errstate(all="ignore"):
        return sorted(load_model_tests(kind="node"), key=lambda case: case.name)


def variant(case: Any, kept: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]] | None:
    """The model with all but ``kept`` inputs turned into initializers, and what to feed; None for non-tensors."""
    model, arrays = case.model, case.data_sets[0][0]
    if any(not info.type.HasField("tensor_type") for info in model.graph.input):
        return None
    proto = onnx.ModelProto()
    proto.CopyFrom(model)
    proto.ir_version = max(proto.ir_version, 4)
    tensors = [a if isinstance(a, onnx.TensorProto) else numpy_helper.from_array(np.asarray(a)) for a in arrays]
    fed = {}
    for info, tensor in zip(model.graph.input, tensors, strict=False):
        if len(fed) < kept:
            fed[info.name] = numpy_helper.to_array(tensor)
        else:
            proto.graph.input.remove(next(i for i in proto.graph.input if i.name == info.name))
            proto.graph.initializer.add().CopyFrom(tensor)
            proto.graph.initializer[-1].name = info.name
    return proto, fed


def evaluate(proto: onnx.ModelProto, fed: dict[str, np.ndarray]) -> tuple[Way, list[Any]] | None:
    """How this model can be run (on the runtime, else by the reference) and what comes out; None when neither can."""
    ways: list[Way] = [
        lambda model: list(run(model_file.load(model), fed).values()),
        lambda model: ReferenceEvaluator(model).run(None, fed),
    ]
    for way in ways:
        with contextlib.suppress(Exception):  # what the reference raises is any exception at all
            return way, way(proto)
    return None


def compare(case: Any, name: str) -> str:
    """The outcome for one case: ``compared``, or why it could not be."""
    made = variant(case, KEPT[name])
    if made is None:
        return "inputs that are no tensors"
    proto, fed = made
    before = evaluate(proto, fed)
    if before is None:
        return "nothing here runs it"
    way, expected = before
    room = SimplifyOptions(max_fold_bytes=1 << 27) if name == "all constant" else SimplifyOptions()
    try:
        result, report = simplify(proto, room)
    except UnsupportedError:
        return "not read"
    after = onnx.load_model_from_string(model_file.to_bytes(result))
    onnx.checker.check_model(after)
    assert [o.name for o in after.graph.output] == [o.name for o in proto.graph.output], case.name
    for one, other in zip(expected, way(after), strict=True):
        assert same(one, other), (case.name, name, report.changed)
    assert not any(NOT_UNDERSTOOD in skipped.reason for skipped in report.skipped), (case.name, report.skipped)
    again, more = simplify(result, room)
    assert not more.changed, (case.name, name, more.changed)
    assert model_file.to_bytes(again) == model_file.to_bytes(result), (case.name, name)
    return "compared"


def test_no_case_changes_its_result(cases: list[Any]) -> None:
    names = list(KEPT)
    outcomes = Counter(compare(case, names[index % 3]) for index, case in enumerate(cases) if not is_random(case))
    assert outcomes["compared"] >= COMPARED, outcomes


@pytest.mark.nightly
@pytest.mark.parametrize("name", KEPT)
def test_no_case_changes_its_result_in_any_form(cases: list[Any], name: str) -> None:
    outcomes = Counter(compare(case, name) for case in cases if not is_random(case))
    assert outcomes["compared"] >= COMPARED, outcomes


def is_random(case: Any) -> bool:
    """Whether two runs differ."""
    ops = {node.op_type for node in case.model.graph.node}
    return any(op.startswith("Random") or op in ("Bernoulli", "Multinomial") for op in ops)
