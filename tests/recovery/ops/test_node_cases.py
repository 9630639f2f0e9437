"""ONNX's own node cases, the oracle of every operator: each case of a supported one passes."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.backend.test.loader import load_model_tests

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.ops.table import OP_FUNCTIONS
from onnxslim.recovery.torch_model.executor import TorchExecutor
from tests.support.torch_graphs import run_on_torch

#: A sum of ±1 that cancels to zero: the case's 1e-7 is below float32's rounding of what is summed.
CANCELS = {"test_dft_inverse": 1e-6, "test_dft_inverse_opset19": 1e-6}


@dataclass(frozen=True)
class Outcome:
    """How one case ended: ``passed``, ``failed`` (with why), or ``unsupported`` (with what)."""

    name: str
    ops: frozenset[str]
    result: str
    why: str = ""


def all_cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_model_tests(kind="node")


def outcomes() -> Iterator[Outcome]:
    for case in all_cases():
        yield outcome(case)


def outcome(case: Any) -> Outcome:
    ops = frozenset(node.op_type for node in case.model.graph.node)
    try:
        executor = TorchExecutor(ir.from_proto(case.model), trainable=False)
        names = [value.name for value in case.model.graph.input]
        for inputs, expected in case.data_sets:
            found = run_on_torch(executor, dict(zip(names, map(_plain, inputs), strict=False)))
            for name, want in zip(found, expected, strict=False):
                _compare(found[name], want, case.rtol, CANCELS.get(case.name, case.atol))
    except UnsupportedError as error:
        kind = "failed" if "fails on torch" in error.message else "unsupported"
        return Outcome(case.name, ops, kind, error.message)
    except AssertionError as error:
        return Outcome(case.name, ops, "failed", " ".join(str(error).split())[:200])
    return Outcome(case.name, ops, "passed")


def _plain(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _compare(found: Any, want: Any, rtol: float, atol: float) -> None:
    if isinstance(want, list):
        assert isinstance(found, list), "a sequence was expected"
        assert len(found) == len(want), f"{len(found)} elements, {len(want)} expected"
        for a, b in zip(found, want, strict=True):
            _compare(a, b, rtol, atol)
        return
    want = _plain(want)
    if want is None:
        assert found is None
        return
    assert found.dtype == want.dtype, f"{found.dtype}, {want.dtype} expected"
    assert found.shape == want.shape, f"{found.shape}, {want.shape} expected"
    if want.dtype.kind in "cfV" or "float" in want.dtype.name:
        if want.dtype.name in ("bfloat16", "float16"):
            # Rounding in another order moves a result by a unit in the last place or two, whatever the case allows.
            rtol = max(rtol, 2 * float(ml_dtypes.finfo(want.dtype).eps))
        wide = np.complex128 if want.dtype.kind == "c" else np.float64
        with np.errstate(invalid="ignore"):
            a, b = found.astype(wide), want.astype(wide)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(found, want)


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    return list(outcomes())


def test_every_case_of_a_supported_operator_passes(found: list[Outcome]) -> None:
    failed = [f"{o.name}: {o.why}" for o in found if o.result == "failed"]
    assert not failed, "\n".join(failed)


def test_most_of_all_cases_are_supported(found: list[Outcome], capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counter(o.result for o in found)
    share = counts["passed"] / len(found)
    with capsys.disabled():
        print(f"\nONNX node cases on torch: {counts['passed']} of {len(found)} pass ({share:.1%}), the rest is named")
    assert share > 0.9


def test_what_is_not_supported_is_named(found: list[Outcome]) -> None:
    refused = [o for o in found if o.result == "unsupported"]
    assert refused
    assert all(any(op in o.why for op in o.ops) for o in refused)


def test_a_hundred_and_fifty_operators_are_in_the_table() -> None:
    assert len(OP_FUNCTIONS) >= 150
