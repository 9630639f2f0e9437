"""The recipes by hand write what the runtime runs, calibrated on the states that a sequence has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

pytest.importorskip("sympy", reason="onnxruntime's pre-processing wants it")

from judging.hand_recipes import RECIPES, Feeds, quantize_by_hand
from judging.verification import open_session

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
g (float[1,8] x, float[1,8] h) => (float[1,8] y, float[1,8] next) { a = Add(x, h)  y = MatMul(a, w)  next = Add(a, x) }"""


@pytest.fixture
def paths(tmp_path: Path) -> tuple[Path, Path]:
    """A product behind a sum that is handed on, and sequences for it."""
    proto = onnx.parser.parse_model(TEXT)
    weights = np.random.default_rng(0).standard_normal((8, 8)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(proto, tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", x=np.ones((20, 6, 1, 8), np.float32))
    return tmp_path / "m.onnx", tmp_path / "d.npz"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_writes_a_model_that_runs(recipe: str, paths: tuple[Path, Path], tmp_path: Path) -> None:
    here = Path.cwd(), set(Path.cwd().iterdir())
    quantize_by_hand(recipe, *paths, tmp_path / "out.onnx", ["next=h"])
    assert (Path.cwd(), set(Path.cwd().iterdir())) == here
    types = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert types & {"DynamicQuantizeLinear", "QuantizeLinear"}
    feed = {name: np.ones((1, 8), np.float32) for name in ("x", "h")}
    assert open_session(tmp_path / "out.onnx").run(["y"], feed)[0].shape == (1, 8)


def test_calibration_sees_the_states_that_the_model_hands_on(paths: tuple[Path, Path]) -> None:
    feeds = Feeds(*paths, ["next=h"]).feeds
    assert 0 < len(feeds) <= 96
    assert len({float(feed["h"].max()) for feed in feeds}) > 1
