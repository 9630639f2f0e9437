"""The simulated model loses what the written one does, and what costs outputs too much stays float, and no more."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import pytest

from onnxslim.account import Account
from onnxslim.data.sources import open_samples
from onnxslim.errors import UnsupportedError
from onnxslim.quantize import QuantizeOptions, calibrate, encode, measure, quantize, ranges
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, written
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import make_plan, units
from onnxslim.quantize.prepare import prepared
from onnxslim.quantize.simulate import Simulation
from onnxslim.quantize.targets import TARGETS
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplify import simplify
from tests.quantize.test_float16 import model
from tests.quantize.test_graphs import samples, weight

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_models"
CONFIG = SessionConfig()


def network() -> ir.Model:
    text = """g (float[1,16,8,8] x) => (float[1,10] y) {
        c = Conv <pads = [1,1,1,1]> (x, w)
        r = Relu (c)
        d = Conv <pads = [1,1,1,1]> (r, u)
        s = Relu (d)
        p = GlobalAveragePool (s)
        f = Flatten (p)
        y = Gemm (f, v)
    }"""
    found = model(text, w=weight(32, 16, 3, 3), u=weight(32, 32, 3, 3), v=weight(32, 10))
    return prepared(found, Account(""))


@pytest.mark.parametrize("apart", [(), ("Gemm",), ("d",)])
def test_what_is_simulated_is_what_is_written(apart: tuple[str, ...]) -> None:
    found = network()
    feeds = list(samples(found, 16, 8, 8).batches(1))
    names = [node.name for node in found.graph if node.op_type in apart or node.outputs[0].name in apart]
    parts = units(found, TARGETS["cpu"], [str(name) for name in names])
    plan = make_plan(parts, everything(parts))
    assert len([unit for unit in plan.units if unit.name not in plan.int8]) == len(names)
    seen = calibrate.statistics(found, feeds, list(plan.tensors), CONFIG)
    # one narrow method and one wide one, so that parameters of the first would show in results of the second
    methods: dict[str, ranges.Method] = {"wide": lambda h: (8 * h.low, 8 * h.high), "narrow": ranges.METHODS["averaged"]}
    encodings = {
        name: {
            tensor: encode.activation(*method(seen.histogram(group)))
            for group in plan.groups().values()
            for tensor in group
        }
        for name, method in methods.items()
    }
    yardstick = Yardstick(found, feeds, CONFIG)
    simulation = Simulation(found, plan, encodings["wide"], False, yardstick, CONFIG)
    for name, chosen in encodings.items():
        lost = yardstick.errors(written(found, plan, Choices(chosen)))["y"]
        assert simulation.errors(chosen)["y"] == pytest.approx(lost, rel=1e-3), name


def test_as_few_ops_stay_float_as_an_output_can_afford() -> None:
    found = simplify(SAMPLES / "digits_cnn.onnx")[0]
    data = open_samples(SAMPLES / "digits_calib.npz", found)
    floats = []
    for least in (20.0, 42.0, 44.0):
        options = QuantizeOptions(placement="static", activations="static", min_sqnr=least)
        result, account = quantize(found, data, options)
        assert Yardstick(found, list(data.batches(1))[-64:], CONFIG).error(result) < 10 ** (-(least - 1) / 10)
        floats.append(account.changed.get("layers in float", 0))
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

    monkeypatch.setattr(measure, "fastest", timed)
    with pytest.raises(UnsupportedError, match="below 44 dB of SQNR are in float: float") as raised:
        quantize(found, data, QuantizeOptions(placement="measured", activations="static", min_sqnr=44.0))
    assert str(raised.value.hint).startswith("--min-sqnr accepts less")
