"""Hints: forms in a model that cost time, size or accuracy, told at a glance; nothing is run.

One function a form gives the names of what has it. What a form costs is what ``onnxslim doctor`` measured on this machine,
or it is said that nobody did (:mod:`onnxslim.tools.measured_costs`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.quantized import detect_quantization
from onnxslim.graph.signature import list_input_names
from onnxslim.tools.unfused_layers import find_unfused_layers

#: The nodes of a model, those of graphs inside it too, by op.
NodesByOp = Mapping[str, Sequence[ir.Node]]
_Find = Callable[[ir.Model, NodesByOp], Iterator[str]]

#: Weights of fewer elements are told of nowhere: they cost nothing.
_MIN_ELEMENTS = 4096
#: Less than so many times as long is the clock's own doing.
_MIN_COST = 1.03


@dataclass(frozen=True)
class Hint:
    """One form that costs something.

    Attributes:
        form: Which; a key of :data:`FORMS`.
        says: What it costs, and what would be better.
        count: How often it occurs.
        example: The name of the first node or weight that has it.
        factor: How many times longer it takes here than the better form, or None where nobody measured that.
    """

    form: str
    says: str
    count: int
    example: str
    factor: float | None = None

    def __str__(self) -> str:
        times = "" if self.count == 1 else f" and {self.count - 1} more"
        cost = "not measured here" if self.factor is None else f"{self.factor:.2f} times as long here"
        if self.factor is not None and self.factor < _MIN_COST:
            cost = "it costs no time here"
        return f"{self.form} ({self.example}{times}): {self.says}; {cost}"


def find_hints(model: ir.Model, costs: Mapping[str, float] | None = None) -> list[Hint]:
    """What in ``model`` costs something, in the order of :data:`FORMS`.

    Args:
        model: As it is in the file.
        costs: Times longer by form, as far as they were measured here.
    """
    nodes: defaultdict[str, list[ir.Node]] = defaultdict(list)
    for node in model.graph.all_nodes():  # once for all forms: a walk of thousands of nodes takes its time
        nodes[node.op_type].append(node)
    hints = []
    for form, (find, says) in FORMS.items():
        names = list(find(model, nodes))
        if names:
            hints.append(Hint(form, says, len(names), names[0], (costs or {}).get(form)))
    return hints


def _find_inexact_blocks(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for node in nodes.get("MatMulNBits", ()):
        if not node.attributes.get_int("accuracy_level", 0):
            yield _name(node)


def _find_signed_activations(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for node in nodes.get("QuantizeLinear", ()):
        zero_point = node.inputs[2] if len(node.inputs) > 2 else None
        dtype = node.outputs[0].dtype if zero_point is None else zero_point.dtype
        if dtype == ir.DataType.INT8 and get_const_tensor(node.inputs[0]) is None:
            yield _name(node)


def _find_unsigned_weights(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for node in nodes.get("DequantizeLinear", ()):
        codes = get_const_tensor(node.inputs[0])
        if codes is not None and codes.dtype == ir.DataType.UINT8 and codes.size >= _MIN_ELEMENTS:
            yield _name(node)


def _find_depthwise_by_tensor(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for node in nodes.get("Conv", ()):
        dequantize = node.inputs[1].producer() if len(node.inputs) > 1 and node.inputs[1] is not None else None
        if dequantize is None or dequantize.op_type != "DequantizeLinear":
            continue
        codes, scale = (get_const_tensor(value) for value in dequantize.inputs[:2])
        group = node.attributes.get_int("group", 1)
        if codes is not None and scale is not None and 1 < group == codes.shape[0] and scale.size == 1:
            yield _name(node)


def _find_islands(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    """Ops that int8 ends before and begins again after, although the runtime has no int8 kernel that takes all three."""
    from onnxslim.quantization.targets.registry import TARGETS  # whoever only looks at a float model need not wait

    table = TARGETS["cpu"].supported_ops
    others = (some for op, some in nodes.items() if op not in (*table, "QuantizeLinear", "DequantizeLinear"))
    for node in chain.from_iterable(others):
        producers = [value.producer() for value in node.inputs if value is not None and get_const_tensor(value) is None]
        readers = [use.node for output in node.outputs for use in output.uses()]
        dequantized = producers and all(p is not None and p.op_type == "DequantizeLinear" for p in producers)
        if dequantized and readers and all(reader.op_type == "QuantizeLinear" for reader in readers):
            yield _name(node)


def _find_unfused(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    return (f"{_name(node)}: {why}" for node, why in find_unfused_layers(model))


def _find_saturating(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    from onnxslim.quantization.evaluation.saturating_layers import find_saturating_layers  # as above

    return map(str, find_saturating_layers(model))


def _find_float_lstms(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for node in nodes.get("LSTM", ()):
        weight = get_const_tensor(node.inputs[2]) if len(node.inputs) > 2 else None
        if weight is not None and weight.size >= _MIN_ELEMENTS:
            yield _name(node)


def _find_integer_convolutions(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    return (_name(node) for node in nodes.get("ConvInteger", ()))


def _find_normalizations(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    """Those that no Conv, Gemm or ConvTranspose before them takes in."""
    for node in nodes.get("BatchNormalization", ()):
        producer = node.inputs[0].producer() if node.inputs[0] is not None else None
        if producer is None or producer.op_type not in ("Conv", "ConvTranspose", "Gemm"):
            yield _name(node)


def _find_listed_weights(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    initializers = {name for name, value in model.graph.initializers.items() if value is not None}
    return (name for name in list_input_names(model) if name in initializers)


def _find_doubles(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and tensor.dtype == ir.DataType.DOUBLE and tensor.size >= _MIN_ELEMENTS:
            yield name


def _find_tied_weights(model: ir.Model, nodes: NodesByOp) -> Iterator[str]:
    """Large weights that are another one, or another one transposed."""
    seen: dict[tuple[object, ...], list[np.ndarray]] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.size < _MIN_ELEMENTS or not tensor.dtype.is_floating_point():
            continue
        weight = tensor.numpy()
        # transposed, the first and the last element stay where they are: hardly any other two weights are compared
        ends = [np.asarray(weight.flat[place]).tobytes() for place in (0, -1)]
        alike = seen.setdefault((tensor.dtype, *sorted(weight.shape), *ends), [])
        if any(_are_tied(weight, other) for other in alike):
            yield name
        else:
            alike.append(weight)


def _are_tied(weight: np.ndarray, other: np.ndarray) -> bool:
    forms = (other, other.T) if other.ndim == 2 else (other,)
    return any(form.shape == weight.shape and np.array_equal(weight, form) for form in forms)


def _name(node: ir.Node) -> str:
    return node.name or str(node.outputs[0].name)


def _is_quantized(find: _Find) -> _Find:
    """``find`` in models that are quantised, where a float form stands out."""
    return lambda model, nodes: find(model, nodes) if detect_quantization(model) is not None else iter(())


#: Form → what finds it, and what is said of it.
FORMS: dict[str, tuple[_Find, str]] = {
    "MatMulNBits without accuracy_level": (_find_inexact_blocks, "products are computed in float; 4 computes them in int8"),
    "int8 activations": (_find_signed_activations, "x86 has faster products of uint8 activations and int8 weights"),
    "uint8 weights": (_find_unsigned_weights, "int8 weights run on faster kernels"),
    "depthwise weights with one scale": (_find_depthwise_by_tensor, "a scale for each channel is as fast and nearer"),
    "float between int8": (
        _is_quantized(_find_islands),
        "there is no int8 kernel for it, and both conversions are paid for",
    ),
    "Q/DQ that does not fuse": (
        _find_unfused,
        "the layer runs in float, and both conversions are paid for; quantize the float model here",
    ),
    "products that can saturate": (
        _find_saturating,
        "x86 without VNNI may answer otherwise; quantize --target portable leaves room",
    ),
    "ConvInteger": (_find_integer_convolutions, "it is slower than float; calibrated ranges (static int8) are not"),
    "LSTM in float": (_find_float_lstms, "quantize with dynamic int8 stores it in a quarter"),
    "BatchNormalization apart": (_find_normalizations, "no layer before it takes it in; recompute or fold it in training"),
    "weights among the inputs": (
        _find_listed_weights,
        "the runtime folds nothing into them; any command here makes them constants",
    ),
    "double precision": (_find_doubles, "export the model in float32"),
    "weights stored twice": (_find_tied_weights, "tied weights need to be stored once"),
}
