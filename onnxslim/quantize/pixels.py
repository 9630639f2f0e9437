"""Inputs that were 8-bit all along: pixels, normalised channel by channel, quantised on the very grid that they lie on.

An image has 256 levels a channel, and normalising moves each channel's grid elsewhere: x = start + step · k, k up to 255.
One scale for the whole input fits none of them, and its rounding is the largest single error of many a small network. So k
itself becomes what the first layer reads: QuantizeLinear with a scale and a zero point a channel gives it exactly, and step
and start go into the layer's weights and bias, in float, before those are quantised::

    Conv(x, W) + b  =  Conv(k, step · W) + b + Σ start · W

Padding must be done before where a zero of x is no k = 0. Written into the float model these are a Pad, a
Mul and an Add in front of the layer (:func:`spread`); the quantised model needs the Pad alone (:func:`fold`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.graph import shapes
from onnxslim.graph.constants import constant
from onnxslim.quantize.encode import Encoding
from onnxslim.quantize.insert import initializer
from onnxslim.quantize.plan import Unit

#: Levels of 8 bits; and fewer than so many distinct values are no picture.
LEVELS, FEWEST = 256, 16
#: How far from its level a value may lie, and how near to half a level a zero point's rest, in levels.
OFF, HALF = 0.02, 0.48
#: Samples that are looked at.
SAMPLES = 16
_NAMES = ("padded", "scaled", "levels")


@dataclass(frozen=True)
class Pixels:
    """An input whose channels lie on grids, and the one layer that reads it.

    Attributes:
        layer: The Conv's name.
        source: The input's name.
        step: Distance of two levels, float64 (channels,).
        start: The value of level 0, float64 (channels,).
    """

    layer: str
    source: str
    step: np.ndarray
    start: np.ndarray

    @property
    def levels(self) -> str:
        """The tensor that the layer reads instead."""
        return f"{self.source}_{_NAMES[-1]}"

    @property
    def zero_points(self) -> np.ndarray:
        """The level nearest to a zero, uint8 (channels,)."""
        return np.asarray(np.rint(-self.start / self.step), np.uint8)

    @property
    def encoding(self) -> Encoding:
        """Of :attr:`levels`: they are their own codes."""
        return Encoding(np.float32(1.0), np.uint8(0))


def find(model: ir.Model, feeds: Iterable[Mapping[str, np.ndarray]], int8: Iterable[str]) -> Pixels | None:
    """The input of ``model`` that holds pixels and is read by one of the layers ``int8``, a Conv, alone; or None."""
    layers = {name: node for node in model.graph if (name := node.name or "") in int8 and node.op_type == "Conv"}
    for value in shapes.inputs(model):
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output() or value.dtype != ir.DataType.FLOAT:
            continue
        node = uses[0].node
        if uses[0].idx or layers.get(node.name or "") is not node or not _able(node, value):
            continue
        images = [feed[str(value.name)] for feed, _ in zip(feeds, range(SAMPLES), strict=False)]
        grids = [grid(np.concatenate([x[:, c].reshape(-1) for x in images])) for c in range(images[0].shape[1])]
        if all(one is not None for one in grids):
            step, start = np.array(grids).T
            found = Pixels(node.name or "", str(value.name), step, start)
            rest = -start / step
            if (rest >= -HALF).all() and (rest < LEVELS - HALF).all() and (np.abs(rest - np.rint(rest)) <= HALF).all():
                return found
    return None


def grid(values: np.ndarray) -> tuple[float, float] | None:
    """Step and start of at most 256 equal levels that all ``values`` lie on; None where they lie on none."""
    distinct = np.unique(values).astype(np.float64)
    if not FEWEST <= len(distinct) <= LEVELS:
        return None
    place = (distinct - distinct[0]) / np.diff(distinct).min()
    level = np.rint(place)
    if level[-1] >= LEVELS:
        return None
    step, first = np.polyfit(level, distinct, 1)
    if np.abs((distinct - first) / step - level).max() > OFF:
        return None
    # what is brighter or darker than all that was seen gets the same room
    return float(step), float(first - step * ((LEVELS - 1 - level[-1]) // 2))


def _able(node: ir.Node, value: ir.Value) -> bool:
    dims = shapes.dims(value)
    weight, bias = constant(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    return (
        dims is not None
        and len(dims) == 4
        and isinstance(dims[1], int)
        and weight is not None
        and (bias is None or constant(bias) is not None)
        and node.attributes.get_int("group", 1) == 1
        and node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID", "")
    )


def spread(model: ir.Model, pixels: Pixels) -> ir.Model:
    """A copy whose first layer reads levels; its float outputs stay what they are, up to rounding."""
    copy = io.clone(model)
    graph = copy.graph
    node = next(node for node in graph if node.name == pixels.layer)
    weight, source = constant(node.inputs[1]), node.inputs[0]
    assert weight is not None
    assert source is not None
    step, start = (array.reshape(1, -1, 1, 1) for array in (pixels.step, pixels.start))
    pads = node.attributes.get_ints("pads", (0,) * 4)
    value = source
    if any(pads) and np.abs(pixels.start / pixels.step).max() > OFF:
        wide = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
        value = _before(node, "Pad", value, initializer(copy, f"{source.name}_pads", wide), f"{source.name}_{_NAMES[0]}")
        node.attributes.pop("pads")
    for op, array, name in (("Mul", 1.0 / step, _NAMES[1]), ("Add", -start / step, _NAMES[2])):
        factor = initializer(copy, f"{source.name}_{name}_by", array.astype(np.float32))
        value = _before(node, op, value, factor, f"{source.name}_{name}")
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    shifted = (weight.astype(np.float64) * start).sum(axis=(1, 2, 3)) + (0.0 if bias is None else bias)
    node.resize_inputs(3)
    node.replace_input_with(0, value)
    for position, array in ((1, weight * step), (2, shifted)):
        node.replace_input_with(
            position, initializer(copy, f"{pixels.layer}_of_levels_{position}", array.astype(np.float32))
        )
    shapes.infer(copy)
    return copy


def _before(node: ir.Node, op: str, value: ir.Value, other: ir.Value, name: str) -> ir.Value:
    made = ir.node(op, [value, other], name=name)
    made.outputs[0].name, made.outputs[0].dtype = name, ir.DataType.FLOAT
    assert node.graph is not None
    node.graph.insert_before(node, made)
    return made.outputs[0]


def in_float(found: Sequence[Unit], pixels: Pixels) -> list[Unit]:
    """``found`` with what :func:`spread` put in front kept out of int8."""
    names = {f"{pixels.source}_{name}" for name in _NAMES}
    why = "it turns the input into its 8-bit levels"
    return [replace(unit, why_float=why) if unit.name in names else unit for unit in found]


def fold(model: ir.Model, pixels: Pixels) -> None:
    """Let one QuantizeLinear with a scale a channel do what Mul, Add and QuantizeLinear do, in place."""
    graph = model.graph
    add = next(node for node in graph if node.name == pixels.levels)
    (quantise,) = (use.node for use in add.outputs[0].uses())
    mul = add.inputs[0].producer()  # type: ignore[union-attr]
    assert mul is not None
    quantise.replace_input_with(0, mul.inputs[0])
    quantise.replace_input_with(1, initializer(model, f"{pixels.levels}_steps", pixels.step.astype(np.float32)))
    quantise.replace_input_with(2, initializer(model, f"{pixels.levels}_zeros", pixels.zero_points))
    quantise.attributes["axis"] = ir.AttrInt64("axis", 1)
    graph.remove([add, mul], safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_input() and not value.is_graph_output():
            del graph.initializers[name]
