"""Which layers compute otherwise elsewhere: none where all are alike, and exactly those that are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.quantization.step import quantize
from onnxslim.runtime.isolation import HERE
from onnxslim.runtime.session import SessionConfig
from onnxslim.verification import differing_layers
from onnxslim.verification.differing_layers import DifferingLayer, describe_differing, find_differing_layers
from tests.support.quantize_graphs import EVERYTHING, model, weight

FEED = {"x": np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)}


def find(found: ir.Model, feed: dict[str, np.ndarray]) -> list[DifferingLayer]:
    return find_differing_layers(found, feed, SessionConfig(), HERE, "there")


def test_nothing_differs_where_nothing_does(digits: ir.Model, calib: str) -> None:
    samples = open_samples(calib, digits)
    result, _ = quantize(digits, samples, EVERYTHING)
    assert find(result, next(iter(samples.batches(1)))) == []


@pytest.mark.parametrize(
    ("factor", "said"), [(1.5, "give something else there: product (6 dB)"), (1 + 1e-6, "but round otherwise there")]
)
def test_the_layer_that_differs_is_named_and_not_what_reads_it(
    factor: float, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Otherwise(differing_layers.EmulatedSession):
        def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
            found = super().run(feeds, outputs)
            return {name: value * np.float32(factor) if name == "h" else value for name, value in found.items()}

    text = "g (float[n, 8] x) => (float[n, 8] y) { [product] h = MatMul (x, w) [bend] y = Tanh (h) }"
    monkeypatch.setattr(differing_layers, "EmulatedSession", Otherwise)
    (layer,) = found = find(model(text, w=weight(8, 8)), FEED)
    assert layer.name == "product"
    assert said in describe_differing(found)


def test_what_gives_or_reads_a_sequence_is_left_out() -> None:
    text = """g (float[n, 8] x) => (float[n, 8] y) {
        s = SequenceConstruct (x, x)  one = Constant <value_int = 1> ()  z = SequenceAt (s, one)  y = Tanh (z) }"""
    assert find(model(text), FEED) == []


@pytest.mark.parametrize("draw", ["RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial<sample_size = 64>"])
def test_what_draws_at_random_is_left_out_and_said(draw: str) -> None:
    name, _, attributes = draw.partition("<")
    op = f"{name} <{attributes}" if attributes else name
    text = f"""g (float[n, 8] x) => (float[n, 64] y) {{
        s = Sigmoid (x)  k = Constant <value_ints = [1, 8]> ()  e = Tile (s, k)
        [noise] r = {op} (e)
        f = Cast <to = 1> (r)  y = Tanh (f) }}"""
    (layer,) = found = find(model(text), FEED)
    assert layer.is_random
    assert layer.name == "noise" or draw == "Bernoulli"  # a function, which the runtime writes out
    assert describe_differing(found) == f"layers that give something else each time here too: {layer.name}"
    other = DifferingLayer("conv", 3.0, is_rounding=False)
    told = describe_differing([*found, other])
    assert told.startswith("from the same inputs these layers give something else there: conv (3 dB); left out of that")


def test_of_many_the_worst_are_named() -> None:
    layers = [DifferingLayer(f"conv{index}", 10.0 * index, is_rounding=False) for index in range(9)]
    assert "conv0 (0 dB), conv1 (10 dB), conv2 (20 dB) and 6 more" in describe_differing(layers)
    assert describe_differing([]) == ""


@pytest.mark.parametrize(("steps", "is_rounding"), [(1, True), (2, False)])
def test_one_level_of_a_grid_is_rounding_and_more_is_not(
    steps: int, is_rounding: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Otherwise(differing_layers.EmulatedSession):
        def run(self, feeds: Any, outputs: Any = None) -> dict[str, Any]:
            found = super().run(feeds, outputs)
            return {name: value + np.uint8(steps) if value.dtype == np.uint8 else value for name, value in found.items()}

    text = """g (float[n, 8] x) => (float[n, 8] y) {
        s = Constant <value_float = 0.05> ()  [grid] q = QuantizeLinear (x, s)  y = DequantizeLinear (q, s) }"""
    monkeypatch.setattr(differing_layers, "EmulatedSession", Otherwise)
    (layer,) = find(model(text), FEED)
    assert (layer.name, layer.is_rounding) == ("grid", is_rounding)
