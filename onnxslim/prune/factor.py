"""Cheaper forms of a model's layers: which there are, and the graph with them in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.graph.constants import constant
from onnxslim.graph.cost import cost
from onnxslim.progress import Progress
from onnxslim.prune import layers as linear
from onnxslim.prune.layers import Layer
from onnxslim.prune.lowrank import KINDS, Form, cheapest, cost_of, factors, fit, size_of
from onnxslim.prune.observe import inputs_of
from onnxslim.prune.score import WIDE
from onnxslim.prune.walk import Walk
from onnxslim.runtime.session import SessionConfig

#: Shares of a layer's cost at which each kind of form is tried; a form that saves less than a quarter is not worth a node.
SHARES = (0.75, 0.5, 0.35, 0.2)
#: At most so many forms of one layer are compared by their effect on the outputs.
FORMS = 5


@dataclass(frozen=True)
class Option:
    """One form that one layer could take.

    Attributes:
        form: The form.
        weight: float64 (1, m, d + 1), the layer's weight in that form, of the dense shape.
        error: Of the layer's outputs, over their variance.
        params: Parameters it saves.
        macs: Multiply-accumulates it saves.
    """

    form: Form
    weight: np.ndarray
    error: float
    params: int
    macs: float


@dataclass(frozen=True)
class Factored:
    """A layer and the forms it could take, the gentlest first.

    Attributes:
        layer: The layer.
        node: Its node's name, for exclusions and times.
        options: The forms: of two that cost the same, the one nearer to the layer.
    """

    layer: Layer
    node: str
    options: Sequence[Option]


def candidates(
    model: ir.Model,
    samples: Samples | None,
    config: SessionConfig,
    progress: Progress,
    *,
    refused: Sequence[str] = (),
    round_to: int = 1,
    seed: int = 0,
) -> list[Factored]:
    """The layers of ``model`` with a cheaper form, in its order.

    Args:
        model: Read only.
        samples: What tells the inputs' Gram matrices; without them inputs count as uncorrelated.
        config: How the model runs.
        progress: Called after each layer.
        refused: Names of nodes to leave alone.
        round_to: What ranks are a multiple of, where they are as large.
        seed: Of the choice of positions.
    """
    nodes = list(model.graph)
    costs = cost(model).nodes
    walk = Walk(model, samples, config) if samples is not None else None
    found = []
    todo = [layer for layer in linear.find(model.graph) if _suits(layer) and layer.name not in refused]
    for done, layer in enumerate(todo):
        node = nodes[layer.position]
        matrix = linear.matrix(layer, node)
        if matrix.shape[2] > WIDE:
            continue
        kernel = _shape(layer, node)[2:]
        gram = np.eye(matrix.shape[2])
        if walk is not None:
            seen, held = inputs_of(layer, node, walk, seed)
            gram = (seen.xx + held.xx)[0] / max(seen.count + held.count, 1)
        gram = _own_gram(layer, gram)
        macs = costs[node.name or ""].macs if node.name in costs else 0
        options = []
        for form in _forms(layer, node, round_to):
            weight, error = fit(form, matrix[0], kernel, gram)
            share = cost_of(form, _shape(layer, node), _strides(node, kernel))
            saved = matrix.size - matrix.shape[1] - size_of(form, _shape(layer, node))
            options.append(Option(form, weight[None], error, saved, macs * (1 - share)))
        if options := _best(options):
            found.append(Factored(layer, node.name or layer.name, options))
        progress("low rank", done + 1, len(todo))
    return found


def split(model: ir.Model, forms: Mapping[str, Form]) -> None:
    """Put the layers whose outputs (:attr:`Layer.raw`) are in ``forms`` into those forms, in place.

    A layer whose weight is of that form already stays what it computes; of others the rest is cut off. A layer that has
    since become so small that the form would not be cheaper is left alone.
    """
    nodes = list(model.graph)
    for layer in linear.find(model.graph):
        node = nodes[layer.position]
        form = forms.get(layer.raw)
        if form is None or cost_of(form, _shape(layer, node), _strides(node, _shape(layer, node)[2:])) >= 1:
            continue
        weight = linear.matrix(layer, node)[0, :, :-1].reshape(_shape(layer, node))
        first, second = factors(form, weight)
        if second is None:
            _trim(node, first)
        elif node.op_type == "Conv":
            _split_conv(model, node, form, first, second)
        else:
            _split_product(model, node, first, second)


def structured(layer: Layer, node: ir.Node, form: Form, whole: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """The weight (1, m, d + 1) of that form whose outputs are nearest to those of ``whole``, on inputs of this Gram."""
    return fit(form, whole[0], _shape(layer, node)[2:], _own_gram(layer, gram))[0][None]


def _suits(layer: Layer) -> bool:
    """Whether the forms are those of this op."""
    return layer.groups == 1 and layer.op != "ConvTranspose"


def _own_gram(layer: Layer, gram: np.ndarray) -> np.ndarray:
    """``gram`` (d + 1, d + 1), its means left out where no bias could make up for them."""
    if layer.biased:
        return gram
    bare = gram.copy()
    bare[-1, :-1] = bare[:-1, -1] = 0.0
    return bare


def _forms(layer: Layer, node: ir.Node, round_to: int) -> list[Form]:
    shape = _shape(layer, node)
    strides = _strides(node, shape[2:])
    found: dict[Form, None] = {}
    for kind in KINDS:
        if kind == "border" and not _can_trim(node, len(shape) - 2):
            continue
        for share in SHARES:
            form = cheapest(kind, shape, strides, share)
            if form is not None and kind != "depthwise" and form.rank > round_to:
                form = Form(kind, form.rank - form.rank % round_to)
            if form is not None:
                found[form] = None
    return list(found)


def _best(options: Sequence[Option]) -> list[Option]:
    """Those that no other one beats in error and saving alike, a few at most, the gentlest first."""
    front: list[Option] = []
    for option in sorted(options, key=lambda o: (o.error, -o.macs, -o.params)):
        if not front or option.macs > front[-1].macs or option.params > max(o.params for o in front):
            front.append(option)
    if len(front) > FORMS:
        front = [front[i] for i in np.linspace(0, len(front) - 1, FORMS).round().astype(int).tolist()]
    return front


def _shape(layer: Layer, node: ir.Node) -> tuple[int, ...]:
    """(m, c, *kernel), whichever way round the op holds it."""
    weight = constant(node.inputs[1])
    assert weight is not None
    turned = layer.op == "MatMul" or (layer.op == "Gemm" and not node.attributes.get_int("transB", 0))
    return tuple(int(size) for size in (weight.T if turned else weight).shape)


def _strides(node: ir.Node, kernel: Sequence[int]) -> tuple[int, ...]:
    return tuple(_ints(node, "strides", [1] * len(kernel)))


def _ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    return [int(i) for i in node.attributes[name].as_ints()] if name in node.attributes else default


def _can_trim(node: ir.Node, rank: int) -> bool:
    """Whether the padding can shrink with the kernel, so that every output stays where it is."""
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return False
    pads, dilations = _ints(node, "pads", [0] * 2 * rank), _ints(node, "dilations", [1] * rank)
    return all(pad >= dilation for pad, dilation in zip(pads, dilations * 2, strict=True))


def _trim(node: ir.Node, weight: np.ndarray) -> None:
    rank = weight.ndim - 2
    dilations = _ints(node, "dilations", [1] * rank)
    pads = [p - d for p, d in zip(_ints(node, "pads", [0] * 2 * rank), dilations * 2, strict=True)]
    node.attributes["pads"] = ir.AttrInt64s("pads", pads)
    node.attributes["kernel_shape"] = ir.AttrInt64s("kernel_shape", list(weight.shape[2:]))
    _set_weight(node, weight)


def _split_conv(model: ir.Model, node: ir.Node, form: Form, first: np.ndarray, second: np.ndarray) -> None:
    rank = first.ndim - 2
    strides, dilations = _ints(node, "strides", [1] * rank), _ints(node, "dilations", [1] * rank)
    pads = _ints(node, "pads", [0] * 2 * rank)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    # Which spatial axes each of the two works along; the other's are of size 1, stride 1, unpadded.
    ahead = [True, False] if form.kind == "spatial" else [True] * rank
    behind = [not axis for axis in ahead] if form.kind == "spatial" else [False] * rank
    group = len(first) // form.rank if form.kind == "depthwise" else 1

    def geometry(axes: list[bool], kernel: Sequence[int], group: int) -> list[ir.Attr]:
        both = axes * 2
        attributes = [
            ir.AttrInt64s("strides", [s if on else 1 for s, on in zip(strides, axes, strict=True)]),
            ir.AttrInt64s("dilations", [d if on else 1 for d, on in zip(dilations, axes, strict=True)]),
            ir.AttrInt64s("kernel_shape", list(kernel)),
            ir.AttrInt64("group", group),
        ]
        if auto in ("NOTSET", "VALID"):
            own = [p if on and auto == "NOTSET" else 0 for p, on in zip(pads, both, strict=True)]
            return [*attributes, ir.AttrInt64s("pads", own)]
        return [*attributes, ir.AttrString("auto_pad", auto)]

    low = _before(model, node, "Conv", first, geometry(ahead, first.shape[2:], group))
    for attribute in geometry(behind, second.shape[2:], 1):
        node.attributes[attribute.name] = attribute
    if auto == "VALID":
        del node.attributes["auto_pad"]
    node.replace_input_with(0, low)
    _set_weight(node, second)


def _split_product(model: ir.Model, node: ir.Node, first: np.ndarray, second: np.ndarray) -> None:
    turned = node.op_type == "MatMul" or not node.attributes.get_int("transB", 0)
    attributes = [] if node.op_type == "MatMul" or turned else [ir.AttrInt64("transB", 1)]
    low = _before(model, node, node.op_type, first.T if turned else first, attributes)
    node.replace_input_with(0, low)
    _set_weight(node, second.T if turned else second)


def _before(model: ir.Model, node: ir.Node, op: str, weight: np.ndarray, attributes: Sequence[ir.Attr]) -> ir.Value:
    """A new layer of ``weight`` on what ``node`` reads, put before it; returns its output."""
    taken = {value.name for each in model.graph for value in each.outputs} | set(model.graph.initializers)
    base = str(node.outputs[0].name)
    number = 0
    while f"{base}_low{number or ''}" in taken or f"{base}_low{number or ''}_weight" in taken:
        number += 1
    name = f"{base}_low{number or ''}"
    new = ir.Node("", op, [node.inputs[0], None], attributes, name=f"{node.name or base}_low{number or ''}")
    new.outputs[0].name = name
    old = node.outputs[0]
    new.outputs[0].type = old.type
    model.graph.insert_before(node, new)
    given = constant(node.inputs[1])
    assert given is not None
    value = ir.Value(name=f"{name}_weight", const_value=ir.tensor(weight.astype(given.dtype), name=f"{name}_weight"))
    value.shape, value.type = ir.Shape(weight.shape), ir.TensorType(ir.DataType.from_numpy(given.dtype))
    model.graph.initializers.add(value)
    new.replace_input_with(1, value)
    return new.outputs[0]


def _set_weight(node: ir.Node, weight: np.ndarray) -> None:
    old = constant(node.inputs[1])
    assert old is not None
    linear.put(node, 1, weight.astype(old.dtype))
