"""Models in given formats: fitted where there are data, alike in size where they are sketches."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.deadline import Pacer
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.weight_only import codebook
from onnxslim.quantization.weight_only.mixed import formats
from onnxslim.quantization.weight_only.mixed.builder import MixedBuilder
from onnxslim.quantization.weight_only.mixed.formats import BlockFormats, MixedWeight, find_mixed_weights
from onnxslim.quantization.weight_only.weights import WeightTensor
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model, weight

BLOCKS = [BlockFormat(2, 64, True), BlockFormat(4, 32, True), BlockFormat(8, 64)]


class ImpatientPacer(Pacer):
    """There is time for a few parts only."""

    def __init__(self, parts: int) -> None:
        super().__init__(None)
        self.parts = parts

    def fits(self) -> bool:
        self.parts -= 1
        return self.parts >= 0


def make_builder(small: float = 1.0) -> tuple[ir.Model, list[MixedWeight], MixedBuilder, np.ndarray]:
    text = (
        "g (float[n,64] x) => (float[n,8] y) "
        "{ a = MatMul (x, v) \n b = Relu (a) \n c = MatMul (b, w) \n d = Reshape (c, s) \n e = Conv (d, u) \n "
        "y = Flatten (e) }"
    )
    v = weight(64, 64)
    v[:, 0] *= small
    constants = {"v": v, "w": weight(64, 64), "u": weight(8, 64, 1, 1), "s": np.array([0, 64, 1, 1])}
    found = prepare_model(model(text, **constants))[0]
    rng = np.random.default_rng(0)
    x = np.abs(rng.standard_normal((300, 6)) @ rng.standard_normal((6, 64))).astype(np.float32)
    weights = find_mixed_weights(found, BlockFormats(BLOCKS, BLOCKS))
    feeds = CalibrationFeeds(open_samples({"x": x}, found))
    return found, weights, MixedBuilder(found, weights, (), feeds=feeds, config=SessionConfig()), x


def test_what_is_built_is_fitted_to_the_data() -> None:
    found, weights, builder, x = make_builder()
    chosen = {one.name: "uint4:32" if one.name != "u" else "int8" for one in weights}
    built, report = builder.build(chosen)
    assert report.changed == {"weights in 4 bits": 2, "weights in int8, expanded at load": 1}
    wanted, fitted, drawn = (Session(one).run({"x": x})["y"] for one in (found, built, builder.sketch(chosen)))
    assert np.square(fitted - wanted).sum() < 0.01 * np.square(wanted).sum()
    assert drawn.shape == wanted.shape
    feeds = CalibrationFeeds(open_samples({"x": x}, found))
    again, _ = MixedBuilder(found, weights, (), feeds=feeds, config=SessionConfig()).build(chosen)
    assert model_file.to_bytes(again) == model_file.to_bytes(built)


@pytest.mark.parametrize("parts", [0, 1, 2])
def test_what_there_is_no_time_to_fit_is_rounded_to_nearest_and_names_repeat_the_rest(parts: int) -> None:
    found, weights, whole, x = make_builder()
    feeds = CalibrationFeeds(open_samples({"x": x}, found))

    def make(**options: Any) -> MixedBuilder:
        return MixedBuilder(found, weights, (), feeds=feeds, config=SessionConfig(), **options)

    builder = make(pace=lambda: ImpatientPacer(parts))
    builder.build({one.name: "int8:64" if one.name != "u" else "int8" for one in weights})
    chosen = {one.name: "uint4:32" if one.name != "u" else "int8" for one in weights}
    built, _ = builder.build(chosen)
    assert builder.fitted == ((), ("v",), None)[parts]
    again = make(fitted=builder.fitted).build(chosen)[0]
    assert model_file.to_bytes(again) == model_file.to_bytes(built)
    assert (model_file.to_bytes(whole.build(chosen)[0]) == model_file.to_bytes(built)) == (parts == 2)


@pytest.mark.parametrize("lossy", ["v", "w"])
def test_what_loses_most_is_fitted_before_the_time_is_up(lossy: str) -> None:
    found, weights, _, x = make_builder()
    feeds, config = CalibrationFeeds(open_samples({"x": x}, found)), SessionConfig()
    losses = {(one.name, text): 1.0 + (one.name == lossy) for one in weights for text in one.formats}
    builder = MixedBuilder(
        found, weights, (), feeds=feeds, config=config, pace=lambda: ImpatientPacer(1), losses=losses
    )  # fmt: skip
    builder.build({one.name: "uint4:32" if one.name != "u" else "int8" for one in weights})
    assert builder.fitted == (lossy,)


@pytest.mark.parametrize("small", [1.0, 1e-6])
def test_a_sketch_has_the_size_of_what_is_built(small: float) -> None:
    _, weights, builder, _ = make_builder(small)
    for text in ("uint2:64", "uint4:32", "int8:64"):
        chosen = {one.name: text if one.name != "u" else one.formats[-1] for one in weights}
        sketched = len(model_file.to_bytes(builder.sketch(chosen)))
        assert abs(sketched - len(model_file.to_bytes(builder.build(chosen)[0]))) <= 8


def test_codebooks_are_fitted_once_however_many_sketches_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    _, weights, builder, _ = make_builder()
    fitted = []

    def watch(stored: WeightTensor, size: int) -> codebook.Codebook:
        fitted.append(size)
        return codebook.fit_codebook(stored, size)

    monkeypatch.setattr(formats, "fit_codebook", watch)
    for text in ("uint2:64", "uint4:32"):
        builder.sketch({one.name: text if one.name != "u" else "codebook:16" for one in weights})
    assert fitted == [16]


def test_nothing_is_said_of_what_was_written_itself() -> None:
    text = "g (int64[n] ids) => (float[n,64] y) { y = Gather (table, ids) }"
    found = prepare_model(model(text, table=weight(1000, 64)))[0]
    weights = find_mixed_weights(found, BlockFormats(BLOCKS, BLOCKS))
    feeds = CalibrationFeeds(open_samples({"ids": np.arange(4)}, found))
    builder = MixedBuilder(found, weights, (), feeds=feeds, config=SessionConfig())
    result, report = builder.build({"table": "uint4:32"})
    assert "table_scale" in result.graph.initializers
    assert report.skipped == []
