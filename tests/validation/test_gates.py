"""Each gate just met and just missed, by the value seen and by the bad end of its interval."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxslim.core.quantities import Units
from onnxslim.validation.evaluation_accumulator import Evaluation
from onnxslim.validation.gates import Gates, find_gate_failures
from onnxslim.validation.latency import summarize
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.statistics import paired_proportion_interval


def evaluation(**changes: Any) -> Evaluation:
    """300 samples, 4 % lost and 3 % gained: a drop of one point; an agreement of 93 %; 20 dB."""
    interval = paired_proportion_interval(12, 9, 300)
    top1 = MetricResult("top1", 0.80, 0.79, 0.01, interval, 300, share=True)
    agreement = MetricResult("agreement", 1.0, 0.93, 0.07, (0.045, 0.104), 300, share=True)
    fidelity = OutputFidelity()
    fidelity.add(np.ones((1, 4)), np.full((1, 4), 0.9))
    found: dict[str, Any] = {"metrics": [top1, agreement], "output": "y", "outputs": {"y": fidelity}} | changes
    return Evaluation(**found)


NOISE = np.random.default_rng(0).normal(1, 0.02, (2, 40))
LATENCY = summarize({"original": 0.010 * NOISE[0], "result": 0.005 * NOISE[1]}, provider="cpu", threads=1, batch=1)
SIZES = {"original": 4000, "result": 1000}


@pytest.mark.parametrize(
    ("gates", "line"),
    [
        (Gates(max_drop=0.0099), "top1 drops by 1 % (80 % to 79 %); at most 0.99 % is allowed"),
        (Gates(min_agreement=0.94), "agreement is 93 %; at least 94 % is asked"),
        (Gates(min_sqnr=20.5), "SQNR of y is 20.0 dB; at least 20.5 is asked"),
        (Gates(max_size=999), "the result takes 1000 bytes; at most 999 are allowed"),
        (Gates(min_ratio=4.1), "the result is 4.00× smaller; at least 4.1× is asked"),
        (Gates(max_latency=0.004), "an inference takes 5.0"),
        (Gates(min_speedup=2.5), "the result is 1.9"),
    ],
)
def test_a_missed_gate_is_one_line_with_the_numbers(gates: Gates, line: str) -> None:
    (said,) = find_gate_failures(gates, evaluation(), LATENCY, SIZES)
    assert said.startswith(line)
    assert "\n" not in said


def test_gates_that_are_met_or_not_asked_say_nothing() -> None:
    met = Gates(
        max_drop=0.01, min_agreement=0.93, min_sqnr=19.9, max_size=1000, min_ratio=4, max_latency=0.006, min_speedup=1.8
    )
    assert find_gate_failures(met, evaluation(), LATENCY, SIZES) == []
    assert find_gate_failures(Gates(), None) == []


def test_strict_gates_judge_the_bad_end_and_say_how_many_samples_would_decide() -> None:
    assert find_gate_failures(Gates(max_drop=0.02), evaluation()) == []
    (line,) = find_gate_failures(Gates(max_drop=0.02, strict=True), evaluation())
    assert "its 95 % interval reaches 4.2" in line
    assert "(strict); about 3" in line
    assert line.endswith("samples would decide")
    assert find_gate_failures(Gates(max_drop=0.05, strict=True), evaluation()) == []
    assert find_gate_failures(Gates(min_agreement=0.90), evaluation()) == []
    assert "95 % interval from 89.6 %" in find_gate_failures(Gates(min_agreement=0.90, strict=True), evaluation())[0]
    bound = LATENCY["interval"][0] + 1e-6
    assert find_gate_failures(Gates(min_speedup=bound), None, LATENCY) == []
    assert "95 % interval from" in find_gate_failures(Gates(min_speedup=bound, strict=True), None, LATENCY)[0]
    taken = LATENCY["result"]["interval_ms"][1] / 1000 - 1e-9
    assert find_gate_failures(Gates(max_latency=taken), None, LATENCY) == []
    assert "95 % interval up to" in find_gate_failures(Gates(max_latency=taken, strict=True), None, LATENCY)[0]


def test_a_drop_without_an_interval_cannot_pass_a_strict_gate() -> None:
    few = evaluation(metrics=[MetricResult("f1", 0.8, 0.8, 0.0, None, 12)])
    assert find_gate_failures(Gates(max_drop=0.01), few) == []
    assert "too few for an interval" in find_gate_failures(Gates(max_drop=0.01, strict=True), few)[0]


@pytest.mark.parametrize(
    "gates",
    [Gates(max_drop=1), Gates(min_agreement=0), Gates(min_sqnr=0), Gates(max_size=10**9), Gates(min_ratio=0),
     Gates(max_latency=9), Gates(min_speedup=0)],
)  # fmt: skip
def test_what_was_not_measured_is_not_met(gates: Gates) -> None:
    assert len(find_gate_failures(gates, None)) == 1


def test_drops_that_are_no_numbers_do_not_pass() -> None:
    for drop in (math.nan, math.inf):
        broken = evaluation(metrics=[MetricResult("relative", 1.0, -math.inf, drop, (0.0, drop), 9, share=True)])
        assert len(find_gate_failures(Gates(max_drop=0.5), broken)) == 1


def test_a_limit_means_the_same_for_metrics_of_other_points() -> None:
    deviation = MetricResult("deviation", 0.0, 0.04, 0.04, (0.03, 0.06), 9, higher_is_better=False, point=0.05)
    judged = evaluation(metrics=[deviation])
    assert find_gate_failures(Gates(max_drop=0.01), judged) == []
    (line,) = find_gate_failures(Gates(max_drop=0.005), judged)
    assert line == "deviation rises by 0.04 (0 to 0.04); at most 0.025 is allowed"
    (line,) = find_gate_failures(Gates(max_drop=0.01, strict=True), judged)
    assert "reaches 0.06; at most 0.05 is allowed (strict)" in line
    assert find_gate_failures(Gates(max_drop=Units(0.04)), judged) == []
    assert len(find_gate_failures(Gates(max_drop=Units(0.03)), judged)) == 1


def test_of_several_metrics_that_gate_the_one_that_lost_most_does() -> None:
    mild = MetricResult("deviation", 0.0, 0.04, 0.04, None, 9, higher_is_better=False, point=0.05, output="a")
    hard = MetricResult("top1", 0.9, 0.88, 0.02, None, 9, share=True, output="b")
    judged = evaluation(metrics=[mild, hard], gating=[mild, hard])
    assert judged.metric is hard
    (line,) = find_gate_failures(Gates(max_drop=0.01), judged)
    assert line.startswith("top1 of b drops by 2 %")
    broken = MetricResult("deviation", 0.0, math.nan, math.nan, None, 9, higher_is_better=False, output="a")
    assert evaluation(metrics=[hard], gating=[hard, broken]).metric is broken


def test_a_result_that_is_not_finite_fails_every_sqnr() -> None:
    fidelity = OutputFidelity()
    fidelity.add(np.ones((1, 2)), np.array([[np.nan, 1.0]]))
    assert len(find_gate_failures(Gates(min_sqnr=-1e9), evaluation(outputs={"y": fidelity}))) == 1


def test_a_step_and_a_prompt_have_limits_of_their_own() -> None:
    latency = {"of": "step", **LATENCY, "prompt": {**LATENCY, "of": "prompt"}}
    assert "a step takes" in find_gate_failures(Gates(max_latency=1e-9), None, latency)[0]
    assert "a prompt takes" in find_gate_failures(Gates(max_prompt_latency=1e-9), None, latency)[0]
    assert find_gate_failures(Gates(max_prompt_latency=9), None, latency) == []
    assert "was not measured" in find_gate_failures(Gates(max_prompt_latency=9), None, LATENCY)[0]


def test_a_guard_decides_by_what_was_seen_and_the_others_by_their_own_interval() -> None:
    confidence = MetricResult("confidence", 0.8, 0.798, 0.002, (-0.001, 0.012), 300, share=True)
    agreement = MetricResult("agreement", 1.0, 0.985, 0.015, (0.006, 0.03), 300, share=True, point=0.02, guards=True)
    both = evaluation(metrics=[agreement, confidence], gating=[agreement, confidence])
    assert find_gate_failures(Gates(max_drop=0.01), both) == []
    (said,) = find_gate_failures(Gates(max_drop=0.005), both)
    assert said == "agreement drops by 1.5 % (100 % to 98.5 %); at most 1 % is allowed"
    (said,) = find_gate_failures(Gates(max_drop=0.01, strict=True), both)
    assert said.startswith("confidence drops by 0.2 %"), "its own interval reaches beyond the limit"
