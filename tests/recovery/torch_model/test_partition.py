"""What a training stands on: blocks, partition, pools of samples, changes of inputs, losses."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import UnsupportedError
from onnxslim.recovery.torch_model.executor import TorchExecutor
from onnxslim.recovery.torch_model.partition import partition
from onnxslim.runtime.session import Session
from tests.support import torch_graphs as nets
from tests.support.torch_graphs import run_on_torch


def test_what_torch_cannot_run_is_frozen_on_the_side_that_costs_less() -> None:
    rng = np.random.default_rng(0)
    constants = {f"w{i}": rng.standard_normal((4, 4)).astype(np.float32) for i in range(3)}
    early = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("RandomNormalLike", ["a"], ["noise"], "dice"),
        helper.make_node("Mul", ["noise", "nothing"], ["silence"]),
        helper.make_node("Add", ["a", "silence"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["c"]),
        helper.make_node("MatMul", ["c", "w2"], ["y"]),
    ]
    model = nets.build(early, {"x": ["n", 4]}, {"y": ["n", 4]}, {**constants, "nothing": np.zeros(1, np.float32)})
    parts = partition(model)
    assert parts.frozen == {"dice": "no rule for RandomNormalLike"}
    assert parts.front is not None
    executor = TorchExecutor(parts.body)
    assert sorted(executor.weights) == ["w1", "w2"]
    feeds = {"x": rng.standard_normal((3, 4)).astype(np.float32)}
    head = Session(parts.front).run(feeds)
    given = {name: head.get(name, feeds.get(name)) for name in executor.inputs}
    np.testing.assert_allclose(run_on_torch(executor, given)["y"], Session(model).run(feeds)["y"], rtol=1e-5, atol=1e-5)


def test_what_lies_behind_is_cut_off_and_its_inputs_are_learnt() -> None:
    constants = {"w0": np.eye(4, dtype=np.float32), "w1": np.eye(4, dtype=np.float32)}
    late = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("MatMul", ["a", "w1"], ["b"]),
        helper.make_node("RandomNormalLike", ["b"], ["y"], "dice"),
    ]
    parts = partition(nets.build(late, {"x": ["n", 4]}, {"y": ["n", 4]}, constants))
    assert parts.front is None
    assert TorchExecutor(parts.body).float_outputs == ["b"]


def test_a_model_without_a_trainable_middle_is_refused_by_name() -> None:
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["y"], "dice")]
    with pytest.raises(UnsupportedError, match="dice"):
        partition(nets.build(nodes, {"x": ["n", 4]}, {"y": ["n", 4]}, {}))


def test_sequences_are_cut_off_only_where_they_would_be_fed_or_learnt() -> None:
    constants = {"w0": np.eye(4, dtype=np.float32), "w1": np.eye(4, dtype=np.float32), "first": np.array(0)}
    inner = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("SequenceConstruct", ["a", "x"], ["pair"], "construct"),
        helper.make_node("SequenceAt", ["pair", "first"], ["b"], "at"),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    parts = partition(nets.build(inner, {"x": ["n", 4]}, {"y": ["n", 4]}, constants))
    assert not parts.frozen
    dice = helper.make_node("RandomNormalLike", ["at_dice"], ["y"], "dice")
    behind = [*inner[:2], helper.make_node("SequenceAt", ["pair", "first"], ["at_dice"], "at"), dice]
    parts = partition(nets.build(behind, {"x": ["n", 4]}, {"y": ["n", 4]}, constants))
    assert list(parts.frozen) == ["dice"]
    model = nets.build(inner, {"x": ["n", 4]}, {"y": ["n", 4]}, constants)
    model.graph.outputs.append(model.graph.node("construct").outputs[0])
    parts = partition(model)
    assert set(parts.frozen) == {"construct", "at"}
    assert parts.front is not None
    assert sorted(TorchExecutor(parts.body).weights) in (["w0"], ["w1"])
