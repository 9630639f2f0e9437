"""Another basis inside heads changes no output, and brings what they cannot hold to their last channels."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import TimeLimitError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.pruning.head_sorting import sort_head_channels, survey_heads
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.survey import Surveys
from onnxslim.pruning.step import prune
from tests.support.encoder import data, small, sqnr

HEADS, SIZE, RANK = 4, 16, 3


def named() -> ir.Model:
    model = small(layers=1)
    name_nodes(model.graph)
    return model


def sort(model: ir.Model, samples: Samples, exclude: Sequence[str] = ()) -> tuple[ir.Model, StepReport]:
    return sort_head_channels(model, survey_heads(model, RunContext(samples), exclude))


def layer_of(model: ir.Model, part: str) -> LinearLayer:
    return next(layer for layer in find_linear_layers(model.graph).values() if f".{part}" in str(layer.node.inputs[1].name))


def narrow(model: ir.Model, part: str) -> None:
    """Make the outputs of each head span no more than RANK directions, none of them a channel's."""
    rng, layer = np.random.default_rng(5), layer_of(model, part)
    combined = layer.matrix()
    for head in combined[0].reshape(HEADS, SIZE, -1):
        mixed = rng.standard_normal((SIZE, RANK)) @ rng.standard_normal((RANK, SIZE)) / SIZE
        head[:] = mixed @ head
    layer.assign(combined)


def without_last(model: ir.Model, part: str) -> ir.Model:
    cut = model_file.clone(model)
    layer = layer_of(cut, part)
    combined = layer.matrix()
    combined[0].reshape(HEADS, SIZE, -1)[:, RANK:] = 0.0
    layer.assign(combined)
    return cut


@pytest.mark.parametrize("part", ["q", "k", "v"])
def test_channels_that_a_head_does_not_need_come_last(part: str) -> None:
    model = named()
    narrow(model, part)
    samples = data(model, 24)
    result, report = sort(model, samples)
    assert report.changed == {"heads sorted": 2 * HEADS}
    assert sqnr(model, result, samples) > 60
    assert sqnr(model, without_last(result, part), samples) > 50
    assert sqnr(model, without_last(model, part), samples) < 30


def test_tensors_in_another_basis_have_other_names_and_scores_keep_theirs() -> None:
    model = named()
    result, _ = sort(model, data(model))
    before, after = ({str(value.name) for node in m.graph for value in node.outputs} for m in (model, result))
    for layer in find_linear_layers(result.graph).values():
        rotated = any(f".{part}" in str(layer.node.inputs[1].name) for part in "qkv")
        assert (str(layer.output.name) in before) is not rotated
    assert {str(node.outputs[0].name) for node in model.graph if node.op_type == "Softmax"} <= after


def test_excluded_layers_keep_their_basis() -> None:
    model = named()
    result, report = sort(model, data(model), [".*"])
    assert result is model
    assert not report.changed


def test_layers_that_share_a_weight_keep_it() -> None:
    model = small(layers=2)
    name_nodes(model.graph)
    first, second = (x for x in find_linear_layers(model.graph).values() if ".q" in str(x.node.inputs[1].name))
    second.node.replace_input_with(1, first.node.inputs[1])
    result, report = sort(model, data(model))
    assert report.changed == {"heads sorted": 2 * HEADS}  # the values
    assert sum(x.size for x in weights_of(result)) == sum(x.size for x in weights_of(model))


def weights_of(model: ir.Model) -> list[ir.TensorProtocol]:
    return [v.const_value for v in model.graph.initializers.values() if v.uses() and v.const_value is not None]


@pytest.mark.parametrize(
    ("nodes", "dtype"),
    [
        ({"Mul": 1e-5}, ir.DataType.FLOAT),
        ({"Greater": 0.0}, ir.DataType.BOOL),
        ({"Relu": None, "NonZero": None}, ir.DataType.INT64),
    ],
)
def test_what_changes_an_output_stays_and_the_rest_is_sorted(nodes: dict[str, float | None], dtype: ir.DataType) -> None:
    model = named()
    tape, value = ir.tape.Tape(model.graph), layer_of(model, "q").output
    for op, factor in nodes.items():
        constants = [] if factor is None else [tape.initializer(ir.tensor(np.float32(factor), name="factor"))]
        value = tape.op(op, [value, *constants])
    value.name, value.dtype = "queries", dtype
    model.graph.outputs.append(value)
    name_nodes(model.graph)
    result, report = sort(model, data(model))
    assert report.changed == {"heads sorted": HEADS}
    assert [(x.node, x.reason) for x in report.skipped] == [
        (layer_of(model, "q").node.name, "another basis inside its heads changes the outputs")
    ]
    for part, is_same in (("q", True), ("k", True), ("v", False)):
        assert np.array_equal(layer_of(model, part).matrix(), layer_of(result, part).matrix()) is is_same
    assert sqnr(model, result, data(model)) > 60


def test_channels_that_are_sorted_again_have_other_names_again() -> None:
    model = named()
    once, _ = sort(model, data(model))
    twice, _ = sort(once, data(model))
    names = [{str(layer_of(m, part).output.name) for m in (model, once, twice)} for part in "qkv"]
    assert [len(found) for found in names] == [3, 3, 3]


def test_prune_narrows_first_what_heads_do_not_need() -> None:
    model = named()
    for part in ("q", "v"):
        narrow(model, part)
    samples = data(model, 24)
    result, report = prune(model, samples, PruneOptions(remove=0.15, of="params", round_to=1))
    assert report.changed["heads sorted"] == 2 * HEADS
    assert sqnr(model, result, samples) > 30


def test_an_expression_that_is_none_is_refused() -> None:
    model = named()
    with pytest.raises(UsageError, match="not a regular expression"):
        prune(model, data(model), PruneOptions(remove=0.1, of="params", exclude=["("]))


def test_heads_are_measured_once_a_model() -> None:
    model, surveys, stages = named(), Surveys(), list[str]()
    samples = data(model, 24)
    for remove, count in ((0.1, 1), (0.2, 0)):
        stages.clear()
        options = PruneOptions(remove=remove, of="params", round_to=1)
        shared, _ = prune(model, samples, options, surveys=surveys, progress=lambda what, done, of: stages.append(what))
        alone, _ = prune(model, samples, options)
        assert model_file.to_bytes(shared) == model_file.to_bytes(alone)
        assert ("sort heads" in stages) == (count > 0)


def test_without_time_nothing_is_sorted() -> None:
    model = named()
    with pytest.raises(TimeLimitError, match="sort heads: no time left"):
        survey_heads(model, RunContext(data(model), deadline=time.monotonic() - 1))
