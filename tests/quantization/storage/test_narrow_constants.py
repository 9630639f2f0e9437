"""Constants in narrower types: exact where they hold them, half floats for weights, and nothing else touched."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.model_io import model_file
from onnxslim.quantization.storage.narrow_constants import narrow_constants
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

RNG = np.random.default_rng(0)
SIZE = 256
TEXT = """
g (float[n,16] x) => (float[n,16] y, float[n,256] z, float[256,16] rows) {
    h = MatMul (x, weight)
    b = Gemm (h, square, bias)
    y = LayerNormalization (b, gain, shift)
    wide = MatMul (x, broad)
    masked = Mul (wide, mask)
    z = Sin (masked)
    t = Transpose (x)
    flat = MatMul (x, t)
    rows = Gather (table, indices)
}
"""


def build(**constants: np.ndarray) -> ir.Model:
    arrays: dict[str, np.ndarray] = {
        "weight": RNG.normal(size=(16, 16)).astype(np.float32),
        "square": RNG.normal(size=(16, 16)).astype(np.float32),
        "bias": RNG.normal(size=16).astype(np.float32),
        "gain": np.ones(16, np.float32),
        "shift": np.zeros(16, np.float32),
        "broad": RNG.normal(size=(16, SIZE)).astype(np.float32),
        "mask": (RNG.random(SIZE) > 0.5).astype(np.float32),
        "table": RNG.normal(size=(1000, 16)).astype(np.float32),
        "indices": np.sort(RNG.integers(0, 1000, SIZE)),
    } | constants
    return model(TEXT, **arrays)


def narrow(found: ir.Model, **options: object) -> ir.Model:
    copy = model_file.clone(found)
    narrow_constants(copy, **options)  # type: ignore[arg-type]
    return copy


def list_types(found: ir.Model) -> dict[str, str]:
    """The types of what constants came to be stored in, in the order of their names, by the constants' names."""
    types: dict[str, list[str]] = {}
    for name, value in sorted(found.graph.initializers.items()):
        types.setdefault(str(name).split("_")[0], []).append(value.dtype.name)  # type: ignore[union-attr]
    return {name: "+".join(kinds) for name, kinds in types.items()}


def run(found: ir.Model) -> dict[str, np.ndarray]:
    return Session(found).run({"x": np.random.default_rng(1).normal(size=(3, 16)).astype(np.float32)})


def test_what_is_exact_changes_no_bit_of_any_output() -> None:
    found = build()
    exact = narrow(found, halves=False)
    types = list_types(exact)
    assert types["mask"] == "UINT8"
    assert types["indices"] == "INT32+UINT8", "steps and the axis that they are summed along"
    assert {types[name] for name in ("weight", "square", "bias", "broad", "table")} == {"FLOAT"}
    for name, array in run(found).items():
        np.testing.assert_array_equal(array, run(exact)[name])


def test_weights_are_half_floats_and_the_outputs_keep_sixty_decibels() -> None:
    found = build()
    halves = narrow(found)
    types = list_types(halves)
    assert {types[name] for name in ("weight", "square", "broad")} == {"FLOAT16"}
    # constant indices look up what may be coordinates; sixteen numbers pay for no Cast
    assert types["table"] == types["bias"] == "FLOAT"
    for name, array in run(found).items():
        error = np.square(run(halves)[name] - array).mean() / np.square(array).mean()
        assert error < 1e-6
    assert len(model_file.to_bytes(halves)) < len(model_file.to_bytes(found)) - 2 * (16 * 16 * 2 + 16 * SIZE)


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.arange(SIZE, dtype=np.float32) / 1024, "FLOAT16"),
        (np.linspace(0, 1, SIZE, dtype=np.float32), "FLOAT"),
        (np.where(np.arange(SIZE) % 2, -np.inf, 0.0).astype(np.float32), "UINT8+FLOAT"),
        (np.where(np.arange(SIZE) % 2, np.nan, 0.0).astype(np.float32), None),
        (np.where(np.arange(SIZE) % 2, -0.0, 1.0).astype(np.float32), "UINT8+FLOAT"),
        (np.arange(SIZE, dtype=np.float32) - 128, "INT8"),
        (np.where(np.arange(SIZE) % 3, -3.4e38, 0.1).astype(np.float32), "UINT8+FLOAT"),
    ],
    ids=["sixteenths", "thirds", "infinite", "nan", "negative zero", "whole", "as good as infinite"],
)
def test_a_table_that_is_added_or_multiplied_is_stored_as_it_is_or_exactly(array: np.ndarray, kind: str | None) -> None:
    found = build(mask=array)
    narrowed = narrow(found)
    if kind is not None:
        assert list_types(narrowed)["mask"] == kind
    np.testing.assert_array_equal(run(narrow(found, halves=False))["z"], run(found)["z"])


@pytest.mark.parametrize("scale", [1e-9, 1e6], ids=["below the smallest half", "above the largest"])
def test_what_half_floats_cannot_hold_stays(scale: float) -> None:
    found = build(broad=(scale * RNG.normal(size=(16, SIZE))).astype(np.float32))
    assert list_types(narrow(found))["broad"] == "FLOAT"


def test_excluded_nodes_keep_their_floats() -> None:
    found = build()
    for node in found.graph:
        node.name = f"{node.op_type}_{node.outputs[0].name}"
    types = list_types(narrow(found, exclude=["MatMul_wide"]))
    assert types["broad"] == "FLOAT"
    assert types["weight"] == "FLOAT16"


def test_narrowing_twice_changes_nothing_more() -> None:
    once = narrow(build())
    assert len(model_file.to_bytes(narrow(once))) == len(model_file.to_bytes(once))


def test_weights_that_fade_out_are_half_floats_as_long_as_each_output_keeps_its_own() -> None:
    window = np.exp(-(np.linspace(-4, 4, 16, dtype=np.float32) ** 2))[:, None]  # to a ten-millionth
    kernel = (1e-2 * window * RNG.normal(size=(16, SIZE))).astype(np.float32)
    assert list_types(narrow(build(broad=kernel)))["broad"] == "FLOAT16"
    kernel[:, 5] *= 1e-5
    assert list_types(narrow(build(broad=kernel)))["broad"] == "FLOAT"
