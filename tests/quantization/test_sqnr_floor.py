"""What an output keeps where nobody judges it by a metric: as few ops stay float as it can afford."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import GateError, UnsupportedError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.step import simplify
from tests.support.encoder import data, small, sqnr
from tests.support.paths import SAMPLES

CONFIG = SessionConfig()


def test_as_few_ops_stay_float_as_an_output_can_afford() -> None:
    found = simplify(SAMPLES / "digits_cnn.onnx")[0]
    data = open_samples(SAMPLES / "digits_calib.npz", found)
    floats = []
    for least in (20.0, 44.0):
        options = QuantizeOptions(placement="static", activations="static", min_sqnr=least)
        result, report = quantize(found, data, options)
        assert ReferenceOutputs(found, list(data.batches(1))[-64:], CONFIG).error(result) < 10 ** (-(least - 1) / 10)
        floats.append(report.changed.get("layers in float", 0))
        front, index = report.decision.front, report.decision.front_index
        if least == 44.0:
            assert report.decision.float_units == front[index].float_units
            assert index > 0
            assert [point.loss for point in front] == sorted((point.loss for point in front), reverse=True)
    assert floats[0] < floats[1] < len([node for node in found.graph if node.op_type in ("Conv", "Gemm")])


def test_a_floor_that_no_placement_keeps_is_told_with_the_output_that_loses_most() -> None:
    found = simplify(SAMPLES / "digits_cnn.onnx")[0]
    data = open_samples(SAMPLES / "digits_calib.npz", found)
    with pytest.raises(GateError, match="90 are asked for"):
        quantize(found, data, QuantizeOptions(placement="static", activations="static", min_sqnr=90.0))


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
    assert str(raised.value.hint).startswith("--min-sqnr")


@pytest.mark.parametrize(
    "form",
    [{"weights": "int4"}, {"weights": "codebook:16"}, {"weights": "float16"}, {"weights": "int4:qdq"}, {"target": "cuda"}],
)
def test_what_takes_nothing_back_to_float_is_held_against_the_floor_as_well(form: dict[str, str]) -> None:
    found = simplify(small(hidden=64, layers=1))[0]
    samples = data(found, 8)
    options = QuantizeOptions(placement="static", **form)  # type: ignore[arg-type]
    kept = sqnr(found, quantize(found, samples, options)[0], samples)
    quantize(found, samples, replace(options, min_sqnr=kept - 6))
    named = form.get("weights", "float16")
    with pytest.raises(
        GateError, match=rf"{named} leaves output .* at .* dB of SQNR .*; {kept + 6:g} are asked for"
    ) as raised:
        quantize(found, samples, replace(options, min_sqnr=kept + 6))
    assert raised.value.exit_code == 5


@pytest.mark.parametrize("form", [{"weights": "int8"}, {"weights": "int4"}, {"target": "cuda"}])
def test_a_floor_without_data_to_see_it_on_is_a_wrong_call(form: dict[str, str]) -> None:
    found = simplify(small(hidden=64, layers=1))[0]
    with pytest.raises(UsageError, match="min_sqnr 30: what outputs keep is measured on data"):
        quantize(found, None, QuantizeOptions(placement="static", min_sqnr=30.0, **form))  # type: ignore[arg-type]


def test_a_placement_of_an_earlier_run_was_held_against_it_there() -> None:
    found = simplify(small(hidden=64, layers=1))[0]
    options = QuantizeOptions(weights="int8", placement="static", min_sqnr=30.0, float_units=(), block_layers=())
    assert quantize(found, None, options)[1].changed
