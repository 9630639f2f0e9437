"""As few ops stay float as an output can afford."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.static.float_fallback import AttemptResult, next_attempt
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.paths import SAMPLES

CONFIG = SessionConfig()
ROUNDING = [1.0, 0.7, 0.4, 0.2, 0.1, 0.0]


@pytest.mark.parametrize(("error", "expected"), [(0.11, 1), (0.16, 2), (0.2, 2), (0.3, 3), (1e9, 3)])
def test_the_next_set_loses_as_much_less_as_the_last_was_too_much(error: float, expected: int) -> None:
    assert next_attempt([AttemptResult(0, error)], ROUNDING, 0.1) == expected


def test_nothing_is_left_to_try_behind_the_last_set() -> None:
    assert next_attempt([AttemptResult(0, 1.0), AttemptResult(5, 0.2)], ROUNDING, 0.1) is None
    assert next_attempt([AttemptResult(0, 1.0)], [1.0, 0.9, 0.8], 0.1) is None


@given(st.lists(st.floats(0, 10), min_size=1, max_size=8), st.lists(st.floats(0, 10), min_size=8, max_size=8))
def test_every_set_is_tried_once_at_most_and_each_leaves_a_quarter_of_the_loss_or_more_behind(
    rounding: list[float], measured: list[float]
) -> None:
    history = [AttemptResult(0, measured[0])]
    while (position := next_attempt(history, rounding, 0.1)) is not None:
        assert position > history[-1].position
        assert rounding[position] <= 0.75 * rounding[history[-1].position]
        skipped = rounding[history[-1].position + 1 : position]
        assert all(loss > 0.25 * rounding[history[-1].position] for loss in skipped)
        history.append(AttemptResult(position, measured[len(history)]))
    assert len(history) <= len(rounding)


def test_as_few_ops_stay_float_as_an_output_can_afford() -> None:
    found = simplify(SAMPLES / "digits_cnn.onnx")[0]
    data = open_samples(SAMPLES / "digits_calib.npz", found)
    floats = []
    for least in (20.0, 42.0, 44.0):
        options = QuantizeOptions(placement="static", activations="static", min_sqnr=least)
        result, report = quantize(found, data, options)
        assert ReferenceOutputs(found, list(data.batches(1))[-64:], CONFIG).error(result) < 10 ** (-(least - 1) / 10)
        floats.append(report.changed.get("layers in float", 0))
    assert floats[0] < floats[1] < floats[2]
    assert floats[2] < len([node for node in found.graph if node.op_type in ("Conv", "Gemm")])


def test_int8_that_is_slower_once_enough_is_spared_says_which_floor_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = simplify(SAMPLES / "digits_cnn.onnx")[0]
    data = open_samples(SAMPLES / "digits_calib.npz", found)
    rounds: list[int] = []

    def timed(candidates: dict[str, ir.Model], *_: object) -> tuple[str, dict[str, float]]:
        slower = len(rounds) > 0
        rounds.append(1)
        times = {name: 1.0 if name == "float" else 2.0 if slower else 0.5 for name in candidates}
        return min(times, key=times.__getitem__), times

    monkeypatch.setattr(placement_profiling, "pick_fastest", timed)
    with pytest.raises(UnsupportedError, match="below 44 dB of SQNR are in float: float") as raised:
        quantize(found, data, QuantizeOptions(placement="measured", activations="static", min_sqnr=44.0))
    assert str(raised.value.hint).startswith("--min-sqnr accepts less")
