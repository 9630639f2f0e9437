"""Classic networks from the onnx wheel: their graphs are real, their weights are ConstantOfShape nodes.

Folding those grows the file a hundredfold, so by default they stay; with room, as few nodes are left as any tool leaves. For
equality seeded random weights take their place, so that no two are alike.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxslim.model_io import model_file
from onnxslim.simplification.step import SimplifyOptions, simplify
from tests.support.equality import assert_simplified, run, same

FOLDER = Path(onnx.__file__).parent / "backend/test/data/light"
#: Nodes that the best of the tools in benchmarks/simplify.py leaves of each, this one among them.
LEAST = {"densenet121": 367, "inception_v2": 154, "shufflenet": 154, "resnet50": 123}
MOST = [pytest.param(name, marks=[] if name == "shufflenet" else pytest.mark.nightly) for name in LEAST]

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="this onnx comes without its test data")


def drawn(name: str) -> onnx.ModelProto:
    """With seeded random initializers for the generators; positive ones for what may be a variance or a scale."""
    model = onnx.load(FOLDER / f"light_{name}.onnx")
    graph, rng = model.graph, np.random.default_rng(0)
    sizes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        size = sizes[node.input[0]]
        fan_in = max(1, int(np.prod(size[1:])))
        array = rng.uniform(0.5, 1.5, size) if len(size) < 2 else rng.standard_normal(size) * (2 / fan_in) ** 0.5
        graph.initializer.append(numpy_helper.from_array(array.astype(np.float32), node.output[0]))
        graph.node.remove(node)
    model.ir_version = max(model.ir_version, 4)  # where initializers need not be inputs, and those that are may vary
    constant = {tensor.name for tensor in graph.initializer}
    for info in [info for info in graph.input if info.name in constant]:
        graph.input.remove(info)
    return model


@pytest.mark.parametrize("name", MOST)
def test_with_room_for_the_weights_no_tool_leaves_fewer_nodes(name: str) -> None:
    result, _ = simplify(FOLDER / f"light_{name}.onnx", SimplifyOptions(max_fold_bytes=1 << 30))
    assert len(result.graph) <= LEAST[name]
    onnx.checker.check_model(onnx.load_model_from_string(model_file.to_bytes(result)))


def test_by_default_the_size_wins_and_what_is_left_is_named() -> None:
    path = FOLDER / "light_shufflenet.onnx"
    result, report = simplify(path)
    assert len(model_file.to_bytes(result)) <= 1.02 * path.stat().st_size
    left = {node.name or node.outputs[0].name for node in result.graph if node.op_type == "ConstantOfShape"}
    named = {skipped.node for skipped in report.skipped if "--max-fold-bytes" in skipped.reason}
    assert left
    assert len(left & named) > 0.9 * len(left)


@pytest.mark.parametrize("name", MOST)
def test_with_random_weights_the_outputs_are_equal(name: str) -> None:
    model = drawn(name)
    before = model_file.load(model)
    result, _ = simplify(before)
    assert_simplified(before, result)
    (value,) = before.graph.inputs
    size = [dim for dim in value.shape or () if isinstance(dim, int)]
    for seed in range(5):
        feeds = {str(value.name): np.random.default_rng(seed).standard_normal(size).astype(np.float32)}
        one, two = run(before, feeds), run(result, feeds)
        assert list(one) == list(two)
        assert all(same(one[key], two[key], rtol=1e-5) for key in one)
        assert all(np.ptp(one[key]) > 0 for key in one), "a constant output shows nothing"
