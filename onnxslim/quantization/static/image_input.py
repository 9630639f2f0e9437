"""Inputs that were 8-bit all along: pixels, normalised channel by channel, quantised on the very grid that they lie on.

An image has 256 levels a channel, and normalising moves each channel's grid elsewhere: x = start + step · k, k up to 255.
One scale for the whole input fits none of them, and its rounding is the largest single error of many a small network. So k
itself becomes what the first layer reads: QuantizeLinear with a scale and a zero point a channel gives it exactly, and step
and start go into the layer's weights and bias, in float, before those are quantised::

    Conv(x, W) + b  =  Conv(k, step · W) + b + Σ start · W

Padding must be done before where a zero of x is no k = 0. Written into the float model these are a Pad, a
Mul and an Add in front of the layer (:func:`insert_level_ops`); the quantised model needs the Pad alone
(:func:`fold_level_ops`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.numerics.affine import Encoding
from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.runtime.parallel import FeedIterable

#: Levels of 8 bits; and fewer than so many distinct values are no picture.
UINT8_LEVELS, MIN_DISTINCT_VALUES = 256, 16
#: How far from its level a value may lie, and how near to half a level a zero point's rest, in levels.
LEVEL_TOLERANCE, ZERO_POINT_TOLERANCE = 0.02, 0.48
#: Samples that are looked at.
MAX_IMAGES = 16
_TENSOR_SUFFIXES = ("padded", "scaled", "levels")


@dataclass(frozen=True)
class ImageInput:
    """An input whose channels lie on grids, and the one layer that reads it.

    Attributes:
        layer_name: The Conv's name.
        input_name: The input's name.
        step: Distance of two levels, float64 (channels,).
        start: The value of level 0, float64 (channels,).
    """

    layer_name: str
    input_name: str
    step: np.ndarray
    start: np.ndarray

    @property
    def levels_name(self) -> str:
        """The tensor that the layer reads instead."""
        return f"{self.input_name}_{_TENSOR_SUFFIXES[-1]}"

    @property
    def zero_points(self) -> np.ndarray:
        """The level nearest to a zero, uint8 (channels,)."""
        return np.asarray(np.rint(-self.start / self.step), np.uint8)

    @property
    def encoding(self) -> Encoding:
        """Of :attr:`levels_name`: they are their own codes."""
        return Encoding(np.float32(1.0), np.uint8(0))


def find_image_input(model: ir.Model, feeds: FeedIterable, int8_layers: Iterable[str]) -> ImageInput | None:
    """The input of ``model`` that holds pixels and is read by one of the layers ``int8_layers``, a Conv, alone; or None."""
    convolutions = {
        name: node for node in model.graph if (name := node.name or "") in int8_layers and node.op_type == "Conv"
    }
    for value in shapes.get_required_inputs(model):
        uses = list(value.uses())
        if len(uses) != 1 or value.is_graph_output() or value.dtype != ir.DataType.FLOAT:
            continue
        node = uses[0].node
        if uses[0].idx or convolutions.get(node.name or "") is not node or not _can_read_levels(node, value):
            continue
        images = [feed[str(value.name)] for feed, _ in zip(feeds, range(MAX_IMAGES), strict=False)]
        grids = [fit_grid(np.concatenate([x[:, c].reshape(-1) for x in images])) for c in range(images[0].shape[1])]
        if all(channel_grid is not None for channel_grid in grids):
            step, start = np.array(grids).T
            levels = -start / step
            in_range = (levels >= -ZERO_POINT_TOLERANCE) & (levels < UINT8_LEVELS - ZERO_POINT_TOLERANCE)
            if (in_range & (np.abs(levels - np.rint(levels)) <= ZERO_POINT_TOLERANCE)).all():
                return ImageInput(node.name or "", str(value.name), step, start)
    return None


def fit_grid(values: np.ndarray) -> tuple[float, float] | None:
    """Step and start of at most 256 equal levels that all ``values`` lie on; None where they lie on none."""
    distinct = np.unique(values).astype(np.float64)
    if not MIN_DISTINCT_VALUES <= len(distinct) <= UINT8_LEVELS:
        return None
    positions = (distinct - distinct[0]) / np.diff(distinct).min()
    levels = np.rint(positions)
    if levels[-1] >= UINT8_LEVELS:
        return None
    step, lowest = np.polyfit(levels, distinct, 1)
    if np.abs((distinct - lowest) / step - levels).max() > LEVEL_TOLERANCE:
        return None
    # what is brighter or darker than all that was seen gets the same room
    return float(step), float(lowest - step * ((UINT8_LEVELS - 1 - levels[-1]) // 2))


def _can_read_levels(node: ir.Node, value: ir.Value) -> bool:
    dims = shapes.get_dims(value)
    weight, bias = get_const_array(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else None
    return (
        dims is not None
        and len(dims) == 4
        and isinstance(dims[1], int)
        and weight is not None
        and (bias is None or get_const_array(bias) is not None)
        and node.attributes.get_int("group", 1) == 1
        and node.attributes.get_string("auto_pad", "NOTSET") in ("NOTSET", "VALID", "")
    )


def insert_level_ops(model: ir.Model, image_input: ImageInput) -> ir.Model:
    """A copy whose first layer reads levels; its float outputs stay what they are, up to rounding."""
    copy = model_file.clone(model)
    editor = GraphEditor(copy.graph)
    node = next(node for node in copy.graph if node.name == image_input.layer_name)
    weight, source = get_const_array(node.inputs[1]), node.inputs[0]
    assert weight is not None
    assert source is not None
    step, start = (array.reshape(1, -1, 1, 1) for array in (image_input.step, image_input.start))
    pads = node.attributes.get_ints("pads", (0,) * 4)

    def add_op(op: str, value: ir.Value, operand: ir.Value, suffix: str) -> ir.Value:
        name = f"{source.name}_{suffix}"
        return editor.add_node(op, value, operand, before=node, name=name, output=name, dtype=ir.DataType.FLOAT)

    value = source
    if any(pads) and np.abs(image_input.start / image_input.step).max() > LEVEL_TOLERANCE:
        pad_widths = np.array([0, 0, *pads[:2], 0, 0, *pads[2:]], np.int64)
        value = add_op("Pad", value, editor.add_initializer(f"{source.name}_pads", pad_widths), _TENSOR_SUFFIXES[0])
        node.attributes.pop("pads")
    for op, array, name in (("Mul", 1.0 / step, _TENSOR_SUFFIXES[1]), ("Add", -start / step, _TENSOR_SUFFIXES[2])):
        value = add_op(op, value, editor.add_initializer(f"{source.name}_{name}_by", array.astype(np.float32)), name)
    bias = get_const_array(node.inputs[2]) if len(node.inputs) > 2 else None
    shifted_bias = (weight.astype(np.float64) * start).sum(axis=(1, 2, 3)) + (0.0 if bias is None else bias)
    node.replace_input_with(0, value)
    for position, array in ((1, weight * step), (2, shifted_bias)):
        stem = f"{image_input.layer_name}_of_levels_{position}"
        editor.replace_input(node, position, editor.add_initializer(stem, array.astype(np.float32)))
    shapes.infer(copy)
    return copy


def keep_level_ops_float(all_units: Sequence[FusionGroup], image_input: ImageInput) -> list[FusionGroup]:
    """``all_units`` with what :func:`insert_level_ops` put in front kept out of int8."""
    names = {f"{image_input.input_name}_{name}" for name in _TENSOR_SUFFIXES}
    reason = "it turns the input into its 8-bit levels"
    return [replace(unit, why_float=reason) if unit.name in names else unit for unit in all_units]


def fold_level_ops(model: ir.Model, image_input: ImageInput) -> None:
    """Let one QuantizeLinear with a scale a channel do what Mul, Add and QuantizeLinear do, in place."""
    editor = GraphEditor(model.graph)
    add = next(node for node in model.graph if node.name == image_input.levels_name)
    (quantize_node,) = (use.node for use in add.outputs[0].uses())
    mul = add.inputs[0].producer()  # type: ignore[union-attr]
    assert mul is not None
    assert mul.inputs[0] is not None
    scales = editor.add_initializer(f"{image_input.levels_name}_steps", image_input.step.astype(np.float32))
    zero_points = editor.add_initializer(f"{image_input.levels_name}_zeros", image_input.zero_points)
    for index, value in enumerate((mul.inputs[0], scales, zero_points)):
        editor.replace_input(quantize_node, index, value)
    quantize_node.attributes["axis"] = ir.AttrInt64("axis", 1)
