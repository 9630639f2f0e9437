"""Leaving blocks out, and what takes over for them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.removable_blocks import DroppableBlock, drop_block
from onnxslim.pruning.block_dropping import build_block_trials, drop_blocks, find_conflicts, find_droppable, remove_leftovers
from onnxslim.pruning.channel_groups import find_channel_groups
from onnxslim.pruning.reconstruction.kept_channels import KeptChannels
from onnxslim.pruning.reconstruction.layerwise import reconstruct_layers
from onnxslim.pruning.reconstruction.regression_targets import find_targets
from onnxslim.runtime.session import Session, SessionConfig
from tests.support import nets

CONFIG = SessionConfig()


def error(model: ir.Model, other: ir.Model) -> float:
    x = next(iter(nets.samples(model, 64, 99).batches(64)))["x"]
    a, b = (next(iter(Session(m).run({"x": x}).values())) for m in (model, other))
    return float(np.square(a - b).sum() / np.square(a).sum())


def inner(model: ir.Model) -> list[DroppableBlock]:
    return [block for block in find_droppable(model, []) if block.residual]


def test_residual_blocks_are_found_and_may_be_refused() -> None:
    model = nets.residual(blocks=3)
    found = inner(model)
    assert len(found) == 3
    assert all(len(find_droppable(model, [block.nodes[0]])) < len(find_droppable(model, [])) for block in found)


def test_a_block_excludes_what_lives_in_it() -> None:
    model = nets.residual(blocks=2)
    found, groups = inner(model), find_channel_groups(analyze_channels(model))
    for block, (others, inside, _) in zip(found, find_conflicts(found, groups), strict=True):
        assert not others
        assert [set(groups[k].nodes) <= set(block.nodes) for k in inside] == [True]
    layers = [node.name or "" for node in model.graph if node.op_type == "Conv"]
    held = [
        [layers[k] in block.nodes for k in at]
        for block, (_, _, at) in zip(found, find_conflicts(found, groups, layers), strict=True)
    ]
    assert held == [[True, True]] * len(found)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_layer_before_takes_over(which: int) -> None:
    model = nets.residual(blocks=3)
    block = inner(model)[which]
    found = [target for target in find_targets(drop_block(model, block), model) if target.replaced_sums]
    assert [target.replaced_sums for target in found] == [(block.exit,)]


def test_blocks_in_a_row_are_taken_over_by_one() -> None:
    model = nets.residual(blocks=3)
    blocks = inner(model)
    without = drop_blocks(model, blocks[1:], None, CONFIG)
    (target,) = [target for target in find_targets(without, model) if target.replaced_sums]
    assert target.replaced_sums == (blocks[1].exit, blocks[2].exit)
    assert target.reference_tensor == blocks[2].exit
    assert target.other_addend is not None


def test_taking_over_is_better_than_a_mean() -> None:
    model = nets.residual(blocks=3)
    data = nets.samples(model, 200)
    blocks = inner(model)[1:]
    for block, (without, first) in zip(blocks, build_block_trials(model, blocks, data, CONFIG), strict=True):
        bare = drop_block(model, block)
        assert error(model, without) < 0.7 * error(model, bare)
        same = zip(list(model.graph)[:first], list(without.graph)[:first], strict=True)
        assert all(a.op_type == b.op_type and a.outputs[0].name == b.outputs[0].name for a, b in same)


def test_where_nothing_can_take_over_the_mean_effect_stays() -> None:
    b = nets.Builder(["n", 3, 8, 8])
    x = b.op("Sigmoid", b.conv("x", 3, 8))
    branch = b.conv(b.op("Relu", b.conv(x, 8, 8)), 8, 8)
    out = b.op("Sigmoid", b.op("Add", branch, x))
    model = b.model(b.gemm(b.op("Flatten", b.op("GlobalAveragePool", out)), 8, 5))
    (block,) = inner(model)
    data = nets.samples(model, 100)
    bare, mean = drop_block(model, block), drop_blocks(model, [block], data, CONFIG)
    assert any(node.op_type == "Add" for node in mean.graph)
    assert error(model, mean) < 0.5 * error(model, bare)


def test_a_dropped_block_is_repaired_and_leaves_nothing_behind() -> None:
    model = nets.residual(blocks=3)
    without = drop_blocks(model, inner(model)[1:2], None, CONFIG)
    before = error(model, without)
    fit = nets.samples(model, 200)
    reconstruct_layers(without, model, KeptChannels(), RunContext(fit))
    after = error(model, without)
    assert after < 0.5 * before
    remove_leftovers(without)
    ops = [node.op_type for node in without.graph]
    assert "Identity" not in ops
    assert ops.count("Relu") == ops.count("Conv")
    assert error(model, without) == pytest.approx(after)
