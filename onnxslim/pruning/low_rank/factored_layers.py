"""Cheaper forms of a model's layers: which there are, and the graph with them in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.activations.segment_executor import SegmentExecutor
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer, find_linear_layers
from onnxslim.pruning.importance.error_curves import MAX_GRAM_COLUMNS
from onnxslim.pruning.low_rank.factorization import (
    FACTORIZATION_KINDS,
    Factorization,
    choose_rank,
    count_weights,
    fit_factorization,
    relative_cost,
    split_factors,
)
from onnxslim.pruning.statistics.layer_moments import collect_moments

#: Shares of a layer's cost at which each kind of form is tried; a form that saves less than a quarter is not worth a node.
COST_SHARES = (0.75, 0.5, 0.35, 0.2)
#: At most so many forms of one layer are compared by their effect on the outputs.
MAX_FACTORIZATIONS = 5


@dataclass(frozen=True)
class FactorizationOption:
    """One form that one layer could take.

    Attributes:
        factorization: The form.
        weight: float64 (1, m, d + 1), the layer's weight in that form, of the dense shape.
        error: Of the layer's outputs, over their variance.
        params: Parameters it saves.
        macs: Multiply-accumulates it saves.
    """

    factorization: Factorization
    weight: np.ndarray
    error: float
    params: int
    macs: float


@dataclass(frozen=True)
class FactorizableLayer:
    """A layer and the forms it could take, the gentlest first.

    Attributes:
        layer: The layer.
        position: Of its node in the graph.
        node: Its node's name, for exclusions and times.
        options: The forms: of two that cost the same, the one nearer to the layer.
    """

    layer: LinearLayer
    position: int
    node: str
    options: Sequence[FactorizationOption]


def find_factorizable(
    model: ir.Model, context: RunContext, *, excluded: Sequence[str] = (), round_to: int = 1, seed: int = 0
) -> list[FactorizableLayer]:
    """The layers of ``model`` with a cheaper form, in its order.

    Args:
        model: Read only.
        context: How the model runs. Without samples, which tell the inputs' Gram matrices, inputs count as uncorrelated.
        excluded: Names of nodes to leave alone.
        round_to: What ranks are a multiple of, where they are as large.
        seed: Of the choice of positions.
    """
    costs = compute_cost(model).nodes
    executor = None if context.samples is None else SegmentExecutor(model, context.samples, context.config)
    factorizable = []
    layers = [
        (position, layer)
        for position, layer in find_linear_layers(model.graph).items()
        if layer.groups == 1 and layer.op != "ConvTranspose" and layer.name not in excluded
    ]
    pacer = context.pace()
    for done, (position, layer) in enumerate(layers):
        pacer.require("low rank")
        matrix, shape = layer.matrix(), layer.output_first.shape
        if matrix.shape[2] > MAX_GRAM_COLUMNS:
            continue
        gram = np.eye(matrix.shape[2])
        if executor is not None:
            fitted, held_out = collect_moments(layer, position, executor, seed)
            gram = (fitted.xx + held_out.xx)[0] / max(fitted.count + held_out.count, 1)
        gram = _usable_gram(layer, gram)
        macs = costs[layer.name].macs if layer.node.name in costs else 0
        options = []
        for factorization in _list_factorizations(layer, round_to):
            weight, error = fit_factorization(factorization, matrix[0], shape[2:], gram)
            share = relative_cost(factorization, shape, _strides(layer))
            params_saved = matrix.size - matrix.shape[1] - count_weights(factorization, shape)
            options.append(FactorizationOption(factorization, weight[None], error, params_saved, macs * (1 - share)))
        if options := _pareto_front(options):
            factorizable.append(FactorizableLayer(layer, position, layer.name, options))
        context.progress("low rank", done + 1, len(layers))
    return factorizable


def split_layers(model: ir.Model, factorizations: Mapping[str, Factorization]) -> None:
    """Put the layers whose outputs (:attr:`LinearLayer.node_output`) are in ``factorizations`` into those forms, in place.

    A layer whose weight is of that form already stays what it computes; of others the rest is cut off. A layer that has
    since become so small that the form would not be cheaper is left alone.
    """
    for layer in find_linear_layers(model.graph).values():
        factorization, shape = factorizations.get(layer.node_output), layer.output_first.shape
        if factorization is None or relative_cost(factorization, shape, _strides(layer)) >= 1:
            continue
        weight = layer.matrix()[0, :, :-1].reshape(shape)
        first, second = split_factors(factorization, weight)
        if second is None:
            _trim_border(layer, first)
        elif layer.op == "Conv":
            _split_conv(model, layer, factorization, first, second)
        else:
            _split_matmul(model, layer, first, second)


def factorize_weight(layer: LinearLayer, factorization: Factorization, combined: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The weight (1, m, d + 1) of that form whose outputs are nearest to those of ``combined``, on inputs of this Gram."""
    return fit_factorization(factorization, combined[0], layer.output_first.shape[2:], _usable_gram(layer, gram))[0][None]


def _usable_gram(layer: LinearLayer, gram: np.ndarray) -> np.ndarray:
    """``gram`` (d + 1, d + 1), its means set to zero where no bias could make up for them."""
    if layer.has_bias:
        return gram
    centered = gram.copy()
    centered[-1, :-1] = centered[:-1, -1] = 0.0
    return centered


def _list_factorizations(layer: LinearLayer, round_to: int) -> list[Factorization]:
    shape, strides = layer.output_first.shape, _strides(layer)
    unique: dict[Factorization, None] = {}
    for kind in FACTORIZATION_KINDS:
        if kind == "border" and not _can_trim(layer.node, len(shape) - 2):
            continue
        for share in COST_SHARES:
            factorization = choose_rank(kind, shape, strides, share)
            if factorization is not None and kind != "depthwise" and factorization.rank > round_to:
                factorization = Factorization(kind, factorization.rank - factorization.rank % round_to)
            if factorization is not None:
                unique[factorization] = None
    return list(unique)


def _pareto_front(options: Sequence[FactorizationOption]) -> list[FactorizationOption]:
    """Those that no other one beats in error and saving alike, a few at most, the gentlest first."""
    front: list[FactorizationOption] = []
    for option in sorted(options, key=lambda o: (o.error, -o.macs, -o.params)):
        if not front or option.macs > front[-1].macs or option.params > max(o.params for o in front):
            front.append(option)
    if len(front) > MAX_FACTORIZATIONS:
        front = [front[i] for i in np.linspace(0, len(front) - 1, MAX_FACTORIZATIONS).round().astype(int).tolist()]
    return front


def _strides(layer: LinearLayer) -> tuple[int, ...]:
    return tuple(layer.node.attributes.get_ints("strides", [1] * (layer.weight.ndim - 2)))


def _can_trim(node: ir.Node, rank: int) -> bool:
    """Whether the padding can shrink with the kernel, so that every output stays where it is."""
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    pads, dilations = node.attributes.get_ints("pads", [0] * 2 * rank), node.attributes.get_ints("dilations", [1] * rank)
    return all(pad >= dilation for pad, dilation in zip(pads, (*dilations, *dilations), strict=True))


def _trim_border(layer: LinearLayer, weight: np.ndarray) -> None:
    node, rank = layer.node, weight.ndim - 2
    dilations = node.attributes.get_ints("dilations", [1] * rank)
    pads = [p - d for p, d in zip(node.attributes.get_ints("pads", [0] * 2 * rank), (*dilations, *dilations), strict=True)]
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(weight.shape[2:]))
    layer.assign_weight(weight)


def _split_conv(
    model: ir.Model, layer: LinearLayer, factorization: Factorization, first: np.ndarray, second: np.ndarray
) -> None:
    node, rank = layer.node, first.ndim - 2
    strides, dilations = node.attributes.get_ints("strides", [1] * rank), node.attributes.get_ints("dilations", [1] * rank)
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    auto_pad = node.attributes.get_string("auto_pad", "NOTSET")
    # Which spatial axes each of the two works along; the other's are of size 1, stride 1, unpadded.
    first_axes = [True, False] if factorization.kind == "spatial" else [True] * rank
    second_axes = [not axis for axis in first_axes] if factorization.kind == "spatial" else [False] * rank
    group = len(first) // factorization.rank if factorization.kind == "depthwise" else 1

    def geometry(axes: list[bool], kernel: Sequence[int], group: int) -> list[ir.Attr]:
        both = axes * 2
        attributes = [
            ir.AttrInt64s("strides", [s if is_active else 1 for s, is_active in zip(strides, axes, strict=True)]),
            ir.AttrInt64s("dilations", [d if is_active else 1 for d, is_active in zip(dilations, axes, strict=True)]),
            ir.AttrInt64s("kernel_shape", list(kernel)),
            ir.AttrInt64("group", group),
        ]
        if auto_pad in ("NOTSET", "VALID"):
            axis_pads = [p if is_active and auto_pad == "NOTSET" else 0 for p, is_active in zip(pads, both, strict=True)]
            return [*attributes, ir.AttrInt64s("pads", axis_pads)]
        return [*attributes, ir.AttrString("auto_pad", auto_pad)]

    low_rank_value = _insert_before(model, layer, first, geometry(first_axes, first.shape[2:], group))
    for attribute in geometry(second_axes, second.shape[2:], 1):
        node.attributes[attribute.name] = attribute
    if auto_pad == "VALID":
        del node.attributes["auto_pad"]
    node.replace_input_with(0, low_rank_value)
    layer.assign_weight(second)


def _split_matmul(model: ir.Model, layer: LinearLayer, first: np.ndarray, second: np.ndarray) -> None:
    attributes = [ir.AttrInt64("transB", 1)] if layer.op == "Gemm" and layer.output_axis == 0 else []
    low_rank_value = _insert_before(model, layer, layer.as_stored(first), attributes)
    layer.node.replace_input_with(0, low_rank_value)
    layer.assign_weight(layer.as_stored(second))


def _insert_before(model: ir.Model, layer: LinearLayer, weight: np.ndarray, attributes: Sequence[ir.Attr]) -> ir.Value:
    """A new layer of ``weight`` on what ``layer`` reads, put before it; returns its output."""
    editor, node, base = GraphEditor(model.graph), layer.node, layer.node_output
    weight_value = editor.add_initializer(f"{base}_low_weight", weight.astype(layer.weight.dtype))
    return editor.add_node(
        layer.op, node.inputs[0], weight_value, before=node, name=f"{node.name or base}_low", output=f"{base}_low",
        dtype=node.outputs[0].dtype, attributes={attribute.name: attribute for attribute in attributes},
    )  # fmt: skip
