"""Which linear layers read blocks: those that are large, or read by few rows."""

from __future__ import annotations

import time

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.step_report import StepReport
from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only import block_choice
from onnxslim.quantization.weight_only.block_choice import choose_block_layers
from tests.support.quantize_graphs import model, weight


def build(rows: int | str) -> ir.Model:
    text = f"""g (float[{rows},256] x) => (float[{rows},16] y) {{
        [large] a = MatMul (x, big)
        [middle] b = MatMul (a, mid)
        [small] y = MatMul (b, few)
    }}"""
    return prepare_model(model(text, big=weight(256, 1024), mid=weight(1024, 128), few=weight(128, 16)))[0]


def choose(found: ir.Model, rows: int, **options: object) -> tuple[str, ...]:
    samples = open_samples({"x": np.zeros((2, rows, 256), np.float32)}, found) if rows else None
    chosen = QuantizeOptions(weights="int8", **{"target": "cpu", "placement": "static", **options})  # type: ignore[arg-type]
    return choose_block_layers(found, RunContext(samples), chosen, StepReport("quantize"))


@pytest.mark.parametrize(
    ("rows", "target", "expected"),
    [
        (1, "cpu", ("large", "middle")),
        (64, "cpu", ("large",)),
        (64, "cpu-no-vnni", ()),
        (1, "cpu-no-vnni", ("large", "middle")),
        (1, "web", ()),
    ],
)
def test_sizes_and_rows_decide_where_nothing_is_measured(rows: int, target: str, expected: tuple[str, ...]) -> None:
    assert choose(build(rows), 0, target=target) == expected


def test_rows_are_those_of_the_data() -> None:
    text = "g (float[n,s,256] x) => (float[n,s,256] y) { [layer] y = MatMul (x, w) }"
    found = prepare_model(model(text, w=weight(256, 256)))[0]
    assert (choose(found, 2), choose(found, 64)) == (("layer",), ())


def test_what_was_decided_is_repeated() -> None:
    assert choose(build(1), 0, block_layers=("small",)) == ("small",)


def test_the_fastest_is_taken_where_times_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "g (float[n,s,256] x) => (float[n,s,256] y) { [layer] y = MatMul (x, w) }"
    found = prepare_model(model(text, w=weight(256, 256)))[0]
    asked: list[list[str]] = []

    def pick(candidates: dict[str, ir.Model], *_: object) -> tuple[str, dict[str, float]]:
        asked.append(list(candidates))
        return list(candidates)[-1], {}

    monkeypatch.setattr(block_choice.placement_profiling, "pick_fastest", pick)
    assert choose(found, 64, placement="measured") == ("layer",)
    assert asked == [["expanded", "in blocks"]]


def test_rows_and_sizes_decide_where_no_time_is_left_to_measure() -> None:
    found = build(1)
    samples = open_samples({"x": np.zeros((2, 256), np.float32)}, found)
    report, options = StepReport("quantize"), QuantizeOptions(weights="int8", target="cpu")
    chosen = choose_block_layers(found, RunContext(samples, deadline=time.monotonic()), options, report)
    assert chosen == ("large", "middle")
    assert [entry.node for entry in report.skipped] == ["measured placement"]
