"""Which candidate is taken, by interleaved rounds and sizes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.quantization.evaluation.placement_profiling import choose_candidate, share_fused_times
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups
from onnxslim.quantization.targets.onnxruntime_cpu import CPU
from tests.support.quantize_graphs import model

ROUNDS = 30


def rounds(**milliseconds: float) -> dict[str, np.ndarray]:
    """Rounds that resemble one another: what disturbs one candidate disturbs all."""
    noise = 1 + 0.05 * np.random.default_rng(0).random(ROUNDS)
    return {name: time * noise for name, time in milliseconds.items()}


@pytest.mark.parametrize(
    ("times", "sizes", "taken"),
    [
        ({"float": 4.0, "few": 2.0, "all": 1.8}, (400, 200, 100), "all"),
        ({"float": 4.0, "few": 2.0, "all": 1.98}, (400, 103, 100), "few"),
        ({"float": 4.0, "few": 2.0, "all": 2.02}, (400, 200, 100), "all"),
        ({"float": 4.0, "few": 2.0, "all": 2.10}, (400, 200, 100), "few"),
        ({"float": 4.0, "few": 3.98, "all": 4.02}, (400, 200, 100), "float"),
        ({"float": 4.0, "few": 4.2, "all": 3.5}, (400, 200, 100), "all"),
    ],
    ids=["quicker", "a tie", "a tie, but smaller", "smaller, but slower", "float ties with int8", "one of two gains"],
)
def test_the_quickest_is_taken_and_of_those_alike_the_smaller(
    times: dict[str, float], sizes: tuple[int, ...], taken: str
) -> None:
    assert choose_candidate(rounds(**times), dict(zip(times, sizes, strict=True))) == taken


def test_a_lead_in_half_of_the_rounds_is_none() -> None:
    found = rounds(float=4.0, few=2.0, all=2.0)
    found["all"] = found["all"] * np.where(np.arange(ROUNDS) % 2, 0.8, 1.1)
    assert choose_candidate(found, {"float": 400, "few": 100, "all": 100}) == "few"


def test_a_kernel_of_several_units_is_shared_among_them_as_the_model_has_it() -> None:
    found = model(
        """g (float[1,8,4,4] x) => (float[1,8,4,4] y) {
        a = Tanh(x)
        s = Sigmoid(a)
        b = Mul(a, s)
        r = Reshape(b, shape)
        y = Tanh(r)
    }""",
        shape=np.array([1, 8, 4, 4], np.int64),
    )
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    units = find_fusion_groups(found, CPU)
    names = [unit.name for unit in units]
    assert names == ["Tanh_a", "Sigmoid_s", "Mul_b", "Reshape_r", "Tanh_y"]
    modeled = dict(zip(names, (1.0, 30.0, 10.0, 5.0, 1.0), strict=True))
    # the runtime made one kernel of Sigmoid and Mul, and of the Reshape none; Mul's outcome is read by another kernel
    shared = share_fused_times(units, {"Tanh_a": 7.0, "Mul_b": 8.0, "Reshape_r": 0.5, "Tanh_y": 7.0}, modeled)
    assert shared == pytest.approx({"Tanh_a": 7.0, "Sigmoid_s": 6.0, "Mul_b": 2.0, "Reshape_r": 0.5, "Tanh_y": 7.0})
    everything = share_fused_times(units, dict.fromkeys(names, 3.0), modeled)
    assert everything == dict.fromkeys(names, 3.0)


def test_no_time_is_lost_or_made_by_sharing() -> None:
    found = model("g (float[4,8] x) => (float[4,8] y) { a = Sigmoid(x)\n b = Mul(x, a)\n c = Tanh(x)\n y = Add(b, c) }")
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    units = find_fusion_groups(found, CPU)
    measured = {"Add_y": 5.0, "Tanh_c": 2.0}
    shared = share_fused_times(units, measured, {unit.name: 1.0 for unit in units})
    assert sum(shared.values()) == pytest.approx(sum(measured.values()))
    # a unit whose kernel no profile shows, and which no single kernel reads, costs nothing
    assert share_fused_times(units, {}, {unit.name: 1.0 for unit in units}) == {unit.name: 0.0 for unit in units}
