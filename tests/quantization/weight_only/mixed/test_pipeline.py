"""Weights in a format each: by size, by loss, repeated to the byte, and refused with a reason."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import GateError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.conformance.block_kernels import find_block_formats
from onnxslim.quantization.context import DropOverLimit
from onnxslim.quantization.evaluation.front_selection import MAX_BUILDS
from onnxslim.quantization.evaluation.judge import MAX_DROP_SHARE
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.quantization.weight_only.mixed import pipeline, second_moments
from onnxslim.quantization.weight_only.mixed.selection import RECIPE_BYTES
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.encoder import sqnr, tied
from tests.support.quantize_graphs import model, weight

MIXED = QuantizeOptions(weights="mixed", placement="static")


def make_chain() -> tuple[ir.Model, Samples]:
    """Four layers of which the first is heard most, and inputs of few directions."""
    lines = ["a = MatMul (x, w0)", "b = Relu (a)", "c = MatMul (b, w1)", "d = MatMul (x, w2)", "e = MatMul (x, w3)"]
    lines += ["f = Mul (d, k)", "g0 = Mul (e, k)", "y = Sum (c, f, g0)"]
    text = f"g (float[n,128] x) => (float[n,128] y) {{ {chr(10).join(lines)} }}"
    found = model(text, **{f"w{index}": weight(128, 128) for index in range(4)}, k=np.float32([0.05]))
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((200, 12)) @ rng.standard_normal((12, 128))).astype(np.float32)
    return found, open_samples({"x": x}, found)


def test_a_size_is_kept_and_filled_with_what_is_heard() -> None:
    found, samples = make_chain()
    limit = len(model_file.to_bytes(found)) // 6
    result, report = quantize(found, samples, replace(MIXED, max_size=limit))
    size = len(model_file.to_bytes(result))
    assert limit - 2 * RECIPE_BYTES - 128 * 128 // 2 < size <= limit
    front = report.details["storage"]
    assert sum(point["chosen"] for point in front) == 1
    assert [point["loss"] for point in front] == sorted((point["loss"] for point in front), reverse=True)
    uniform = replace(MIXED, weight_formats={"uint4:64": ()})
    alike, _ = quantize(found, samples, uniform)
    assert len(model_file.to_bytes(alike)) < 1.1 * size
    assert sqnr(found, result, samples) > sqnr(found, alike, samples) + 1


def test_the_choice_is_recorded_and_repeated_to_the_byte() -> None:
    found, samples = make_chain()
    options = replace(MIXED, max_size=len(model_file.to_bytes(found)) // 5)
    first, report = quantize(found, samples, options)
    again, repeated = quantize(found, samples, replace(MIXED, weight_formats=report.decision.weight_formats))
    assert model_file.to_bytes(first) == model_file.to_bytes(again)
    assert repeated.decision.weight_formats == report.decision.weight_formats


def test_a_choice_of_little_time_is_repeated_to_the_byte_without_a_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that moments are taken of, and weights that are fitted, are what a clock decides."""
    monkeypatch.setattr(second_moments, "MIN_RUNS", 3)
    found, samples = make_chain()
    options = replace(MIXED, max_size=len(model_file.to_bytes(found)) // 5)
    first, report = quantize(found, samples, options, deadline=time.monotonic())
    decision = report.decision
    assert (decision.calibration_samples, decision.fitted_weights) == (3, ())
    assert sum("no time left" in entry.reason for entry in report.skipped) == 2
    given = replace(
        MIXED, weight_formats=decision.weight_formats, calibration_samples=decision.calibration_samples,
        fitted_weights=decision.fitted_weights,
    )  # fmt: skip
    assert model_file.to_bytes(quantize(found, samples, given)[0]) == model_file.to_bytes(first)


@pytest.mark.parametrize("op", ["Transpose", "Gemm"])
def test_with_the_runtimes_optimization_off_a_model_computes_the_same(op: str) -> None:
    """A debugger's session, or one of a runtime that is built without: tables and tied layers too."""
    found = tied(op)
    samples = open_samples({"ids": np.arange(40)}, found)
    for text in ("int8:64", "uint4:32"):
        result, _ = quantize(found, samples, replace(MIXED, weight_formats={text: ()}))
        assert {"MatMulNBits", "GatherBlockQuantized"} <= {node.op_type for node in result.graph}
        feed = {"ids": np.arange(8)}
        (wanted,), (got,) = (
            Session(result, SessionConfig(optimize=optimize)).run(feed).values() for optimize in (True, False)
        )
        assert np.abs(got - wanted).max() < 1e-3 * np.abs(wanted).max()


def test_a_table_that_was_expanded_is_expanded_again_where_the_runtime_could_look_it_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = "g (int64[n] ids) => (float[n,64] y) { e = Gather (t, ids) \n y = MatMul (e, w) }"
    found = model(text, t=weight(100, 64), w=weight(64, 64))
    samples = open_samples({"ids": np.arange(64)}, found)
    with monkeypatch.context() as older:
        older.setattr(pipeline, "find_table_formats", lambda _: [])
        first, report = quantize(found, samples, replace(MIXED, max_size=16_000))
    assert "GatherBlockQuantized" not in {node.op_type for node in first.graph}
    again, _ = quantize(found, samples, replace(MIXED, weight_formats=report.decision.weight_formats))
    assert model_file.to_bytes(again) == model_file.to_bytes(first)


def test_bits_are_worth_choosing_for_what_reads_tokens_and_is_made_of_blocks() -> None:
    text = "g (int64[n] ids) => (float[n,64] y) { e = Gather (t, ids) \n y = MatMul (e, w) }"
    reads_tokens = model(text, t=weight(100, 64), w=weight(64, 64))
    config = SessionConfig()
    is_runtime_new = any(one.bits < 8 for one in find_block_formats(config, by_time=False))
    assert pipeline.is_worth_mixing(reads_tokens, config, by_time=False) == is_runtime_new
    assert not pipeline.is_worth_mixing(make_chain()[0], config, by_time=False)
    text = text.replace("y = MatMul (e, w)", "f = MatMul (e, w) \n k = ReduceSum (m) \n y = Mul (f, k)")
    elsewhere = model(text, t=weight(100, 64), w=weight(64, 64), m=weight(1000, 64))
    assert not pipeline.is_worth_mixing(elsewhere, config, by_time=False)


def test_a_loss_takes_the_smallest_that_keeps_it() -> None:
    found, samples = make_chain()
    sizes = []
    for least in (12.0, 30.0):
        result, _ = quantize(found, samples, replace(MIXED, min_sqnr=least))
        assert sqnr(found, result, samples) > least - 1
        sizes.append(len(model_file.to_bytes(result)))
    assert sizes[0] < sizes[1]


def test_a_loss_that_nothing_keeps_is_refused_with_the_best_that_was_found() -> None:
    found, samples = make_chain()
    with pytest.raises(GateError, match=r"--weights mixed leaves output y at .* dB of SQNR .* 90 are asked for") as caught:
        quantize(found, samples, replace(MIXED, min_sqnr=90.0))
    reached = float(caught.value.message.partition(" at ")[2].split()[0])
    assert "int8" not in caught.value.message
    assert sqnr(found, quantize(found, samples, replace(MIXED, min_sqnr=reached - 1))[0], samples) > reached - 3


def test_a_judge_of_drops_decides_where_there_is_one() -> None:
    found, samples = make_chain()
    judged: list[int] = []

    def judge(candidate: ir.Model) -> DropOverLimit:
        judged.append(len(model_file.to_bytes(candidate)))
        excess = MAX_DROP_SHARE * 40_000 / judged[-1]  # so much of what is allowed is not spent
        return DropOverLimit(excess, excess)

    result, report = quantize(found, samples, MIXED, drop_over_limit=judge)
    assert len(judged) == len(report.details["front_tried"]) <= MAX_BUILDS
    kept = [size for size in judged if size >= 40_000]
    # what is behind the choice of formats takes some more away
    assert 0.9 * min(kept) <= len(model_file.to_bytes(result)) <= min(kept)
    decision = report.decision
    point = decision.front[decision.front_index]
    assert point.placed == {"weight_formats": decision.weight_formats}
    assert [one.loss for one in decision.front] == sorted((one.loss for one in decision.front), reverse=True)
    bolder, _ = quantize(found, samples, replace(MIXED, **decision.front[0].placed))
    assert sqnr(found, bolder, samples) < sqnr(found, result, samples)


def test_where_nothing_keeps_a_margin_what_keeps_the_limit_will_do() -> None:
    found, samples = make_chain()
    limit = 0.99 * len(model_file.to_bytes(quantize(found, samples, replace(MIXED, weight_formats={"int8:32": ()}))[0]))

    def judge(candidate: ir.Model) -> DropOverLimit:
        excess = limit / len(model_file.to_bytes(candidate))
        return DropOverLimit(excess, excess)

    result, report = quantize(found, samples, MIXED, drop_over_limit=judge)
    assert len(model_file.to_bytes(result)) > 0.9 * limit
    assert not any("drop stays too large" in line for line in report.warnings)


def test_a_size_that_cannot_be_reached_says_the_smallest_that_can() -> None:
    found, samples = make_chain()
    with pytest.raises(GateError, match=r"the smallest that the formats of this runtime reach is \d+ bytes") as caught:
        quantize(found, samples, replace(MIXED, max_size=3000))
    smallest = int(caught.value.message.split()[-2])
    result, _ = quantize(found, samples, replace(MIXED, max_size=smallest))
    assert len(model_file.to_bytes(result)) <= smallest


def test_a_size_is_kept_where_some_rows_are_next_to_nothing() -> None:
    found, samples = make_chain()
    for name in ("w0", "w1", "w2", "w3"):
        rows = found.graph.initializers[name].const_value.numpy().copy()  # type: ignore[union-attr]
        rows[:, 3] *= 1e-5
        found.graph.initializers[name].const_value = ir.tensor(rows, name=name)
    limit = len(model_file.to_bytes(found)) // 6
    result, _ = quantize(found, samples, replace(MIXED, max_size=limit))
    assert 0.8 * limit < len(model_file.to_bytes(result)) <= limit


def test_convolutions_are_expanded_and_that_is_said() -> None:
    text = "g (float[n,16,6,6] x) => (float[n,32,4,4] y) { a = Conv (x, v) \n y = Conv <kernel_shape=[1,1]> (a, w) }"
    found = model(text, v=weight(64, 16, 3, 3), w=weight(32, 64, 1, 1))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((16, 16, 6, 6)).astype(np.float32)}, found)
    result, report = quantize(found, samples, replace(MIXED, max_size=14_000))
    assert len(model_file.to_bytes(result)) <= 14_000
    assert any("file smaller, not the inference faster" in line for line in report.warnings)
    assert sqnr(found, result, samples) > 15


@pytest.mark.parametrize(("kind", "dtype"), [("float16", np.float16), ("double", np.float64)])
def test_weights_of_other_float_types_are_expanded_to_theirs(kind: str, dtype: type[np.floating]) -> None:
    text = f"g ({kind}[n,64] x) => ({kind}[n,64] y) {{ a = MatMul (x, v) \n b = Relu (a) \n y = MatMul (b, w) }}"
    found = model(text, v=weight(64, 128).astype(dtype), w=weight(128, 64).astype(dtype))
    samples = open_samples({"x": np.random.default_rng(0).standard_normal((32, 64)).astype(dtype)}, found)
    result, report = quantize(found, samples, replace(MIXED, min_sqnr=25.0))
    assert len(model_file.to_bytes(result)) < 0.9 * len(model_file.to_bytes(found))
    assert sqnr(found, result, samples) > 24
    assert report.changed["weights in int8, expanded at load"] == 2


def test_where_blocks_are_slow_layers_are_expanded() -> None:
    found, samples = make_chain()
    options = replace(MIXED, max_size=len(model_file.to_bytes(found)) // 6, target="web")
    result, report = quantize(found, samples, options)
    assert "MatMulNBits" not in {node.op_type for node in result.graph}
    assert any(entry.node == "MatMulNBits" for entry in report.skipped)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "a size or a loss"),
        ({"weights": "int4", "max_size": 1000}, "max-size is for weights in mixed formats"),
        ({"weight_formats": {"int4:32": ()}, "weights": None}, "weight-formats is for weights in mixed formats"),
        ({"weight_formats": {"int3:32": ()}}, "int3:32: unknown"),
        ({"activations": "dynamic", "max_size": 1000}, "leaves activations in float"),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, object], said: str) -> None:
    found, samples = make_chain()
    with pytest.raises(UsageError, match=said):
        quantize(found, samples, replace(MIXED, **changes))  # type: ignore[arg-type]


def test_data_are_needed_and_onnxruntimes_own_ops() -> None:
    found, samples = make_chain()
    with pytest.raises(UsageError, match="needs data"):
        quantize(found, None, replace(MIXED, max_size=10_000))
    with pytest.raises(UnsupportedError, match="--weights mixed"):
        quantize(found, samples, replace(MIXED, max_size=10_000, target="tensorrt"))
