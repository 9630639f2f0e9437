"""Places and indices that are computed in floats."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.shapes import infer
from onnxslim.graph.traversal import name_nodes, walk
from onnxslim.quantization.float16.float32_nodes import has_floats
from onnxslim.quantization.float16.whole_numbers import find_whole_numbers
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import model

ROTARY = """f = Cast <to = 1> (ids)\n u = Unsqueeze(f, last)\n p = MatMul(u, inv)\n c = Concat <axis = -1> (p, p)
  s = Sin(c)\n o = Cos(c)\n a = Mul(x, s)\n b = Mul(x, o)\n y = Add(a, b)"""
HEAD = "g (int64[n,t] ids, float[n,t,8] x) => (float[n,t,8] y)"
ARRAYS = {"last": np.array([2]), "inv": (1 / 10 ** np.arange(4.0)).astype(np.float32)[None]}


def find(text: str, **arrays: np.ndarray) -> list[str]:
    found = model(text, **{name: np.asarray(array) for name, array in arrays.items()})
    infer(found)
    name_nodes(found.graph.all_nodes())
    return [node.op_type for node in find_whole_numbers([n for n in walk(found.graph) if has_floats(n)])]


def test_phases_of_places_stay_and_what_they_turn_does_not() -> None:
    assert find(f"{HEAD} {{ {ROTARY} }}", **ARRAYS) == ["Cast", "Unsqueeze", "MatMul", "Concat", "Sin", "Cos"]


@pytest.mark.parametrize("has_data", [False, True])
def test_a_place_beyond_2048_has_its_phase_though_no_data_go_so_far(has_data: bool) -> None:
    original = model(f"{HEAD} {{ {ROTARY} }}", **ARRAYS)
    rng = np.random.default_rng(0)
    feeds = {"ids": np.tile(np.arange(6), (8, 1)), "x": rng.standard_normal((8, 6, 8)).astype(np.float32)}
    samples = open_samples(feeds, original) if has_data else None
    result, _ = quantize(original, samples, QuantizeOptions(target="cuda"))
    far = {"ids": np.array([[3001, 4095, 9999]]), "x": np.ones((1, 3, 8), np.float32)}
    expected, found = (Session(m).run(far)["y"] for m in (original, result))
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("f = Cast <to = 1> (ids)\n h = Mul(f, k)\n w = Floor(h)\n y = Add(w, x)", ["Cast", "Mul", "Floor"]),
        ("f = Cast <to = 1> (ids)\n i = Cast <to = 7> (f)\n g0 = Cast <to = 1> (i)\n y = Add(g0, x)", ["Cast", "Cast"]),
        (
            "c = Size(ids)\n f = Cast <to = 1> (c)\n r = Range(o, f, k)\n s = Sin(r)\n y = Add(x, s)",
            ["Cast", "Range", "Sin"],
        ),
        ("f = Cast <to = 1> (ids)\n p = CumSum(f, z)\n s = Cos(p)\n y = Add(s, x)", ["Cast", "CumSum", "Cos"]),
        ("f = Cast <to = 1> (ids)\n h = Mul(f, x)\n y = Floor(h)", []),  # numbers of the data's own
        ("f = Cast <to = 1> (ids)\n h = Mul(f, k)\n y = Add(h, x)", []),  # nobody reads the last digit
        ("b = Greater(ids, z)\n f = Cast <to = 1> (b)\n h = Mul(f, k)\n w = Floor(h)\n y = Add(w, x)", []),
    ],
)
def test_integers_are_followed_to_what_reads_them_exactly(body: str, kept: list[str]) -> None:
    arrays = {"k": np.float32(0.5)} if "k)" in body else {}
    arrays |= {"z": np.int64(0)} if "z)" in body else {}
    arrays |= {"o": np.float32(0)} if "(o," in body else {}
    assert find(f"g (int64[n,t] ids, float[n,t] x) => (float[n,t] y) {{ {body} }}", **arrays) == kept
