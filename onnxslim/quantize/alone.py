"""What static int8 costs each layer alone, from one run: the float model with a quantised twin beside every layer.

The trunk stays float, so a twin sees exactly what its layer sees; only its own input and weights are rounded. Both
outputs are compared inside the graph, and two numbers a layer and sample come out, however large the activations are.
That is one model and one pass for all layers, where quantising them one at a time takes as many models as layers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.graph.constants import constant
from onnxslim.quantize import calibrate, encode
from onnxslim.quantize.insert import weight_axis
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import Unit, make_plan, units
from onnxslim.quantize.targets import Target
from onnxslim.quantize.write import Writer
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import prune_unused

#: Samples that ranges (min-max) are taken from and that noise is measured on.
SAMPLES = 16


def alone(
    model: ir.Model,
    target: Target,
    feeds: Iterable[Mapping[str, np.ndarray]],
    config: SessionConfig,
    exclude: Sequence[str] = (),
) -> dict[str, float]:
    """‖y - ŷ‖² / ‖y‖² of every layer that can run in int8, by its name; ranges are the extremes of the samples.

    Args:
        model: Prepared (shapes inferred, nodes named); not changed.
        target: Whose table says which layers can.
        feeds: Single samples; the first :data:`SAMPLES` are used.
        config: Where to run.
        exclude: Regular expressions of layers to leave out.
    """
    few = list(itertools.islice(feeds, SAMPLES))
    copy = io.clone(model)
    found = units(copy, target, exclude)
    able = everything(found)
    layers = [unit for unit in found if unit.weighted and unit.name in able]
    if not layers:
        return {}
    tensors = [name for name in make_plan(found, able).tensors if any(str(u.inputs[0].name) == name for u in layers)]
    seen = calibrate.statistics(model, few, tensors, config)
    writer, graph = Writer(copy), copy.graph
    outputs: list[ir.Value] = []
    for unit in layers:
        name = str(unit.inputs[0].name)
        encoding = encode.activation(seen.low[name], seen.high[name], symmetric=target.activation_symmetric)
        outputs += _twin(writer, unit, encoding, target)
    graph.outputs.clear()
    graph.outputs.extend(outputs)
    prune_unused(graph)
    graph.sort()

    def numbers(index: int, found: dict[str, np.ndarray]) -> np.ndarray:
        return np.array([float(found[str(value.name)]) for value in outputs])

    total = np.sum(list(run_all(copy, few, numbers, config)), axis=0)
    return {unit.name: float(total[2 * i] / max(total[2 * i + 1], 1e-30)) for i, unit in enumerate(layers)}


def _twin(writer: Writer, unit: Unit, encoding: encode.Encoding, target: Target) -> list[ir.Value]:
    """The layer once more with rounded input and weights; the squared difference of the outputs, and their square."""
    node, axis = unit.anchor, weight_axis(unit)
    weight = constant(node.inputs[1])
    assert weight is not None
    scales = encode.weight_scales(weight, axis, narrow=target.saturating_pairs)
    shape = [1] * weight.ndim
    shape[axis] = -1
    rounded = encode.quantise_weight(weight, scales, axis) * scales.reshape(shape)
    after = node  # whatever stands too early now is put right when the graph is sorted
    scale = writer.constant(f"{unit.name}_twin_scale", np.asarray(encoding.scale))
    zero = writer.constant(f"{unit.name}_twin_zero_point", np.asarray(encoding.zero_point))
    codes = writer.before(after, "QuantizeLinear", node.inputs[0], scale, zero, name=f"{unit.name}_twin_codes")
    x = writer.before(after, "DequantizeLinear", codes.outputs[0], scale, zero, name=f"{unit.name}_twin_input")
    others = [x.outputs[0], writer.constant(f"{unit.name}_twin_weight", rounded.astype(np.float32)), *node.inputs[2:]]
    twin = ir.Node(node.domain, node.op_type, others, list(node.attributes.values()), name=f"{unit.name}_twin")
    twin.outputs[0].name = writer.fresh(f"{unit.name}_twin_output")
    assert after.graph is not None
    after.graph.insert_before(after, twin)
    y = node.outputs[0]
    gap = writer.before(after, "Sub", y, twin.outputs[0], name=f"{unit.name}_twin_gap").outputs[0]
    sums = []
    for what, value in (("noise", gap), ("signal", y)):
        name, whole = f"{unit.name}_twin_{what}", {"keepdims": 0}
        squared = writer.before(after, "ReduceSumSquare", value, name=name, attributes=whole, dtype=ir.DataType.FLOAT)
        sums.append(squared.outputs[0])
    return sums
