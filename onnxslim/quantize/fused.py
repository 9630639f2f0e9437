"""What the runtime made of a quantised model: its own optimised graph, read back."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.quantize.plan import Unit
from onnxslim.runtime.optimized import optimized
from onnxslim.runtime.session import SessionConfig

_INT8 = re.compile(r"^(QLinear|QGemm|MatMulInteger|ConvInteger|DynamicQuantize|QMoE|MatMulNBits|QAttention)")


@dataclass(frozen=True)
class Layer:
    """One weighted layer of the model as it really runs.

    Attributes:
        name: The layer.
        op: Its op type in the float model.
        kernel: ``int8`` or ``float``.
        why: Why it is float, or None.
    """

    name: str
    op: str
    kernel: str
    why: str | None


@dataclass(frozen=True)
class Survivor:
    """A QuantizeLinear or DequantizeLinear that the runtime did not fuse.

    Attributes:
        op: Which of them.
        tensor: The float tensor beside it.
        why: What it converts for.
    """

    op: str
    tensor: str
    why: str


@dataclass(frozen=True)
class Fusion:
    """The runtime's graph summed up: op counts, the conversions that survived, and each weighted layer."""

    ops: dict[str, int]
    surviving: tuple[Survivor, ...]
    layers: tuple[Layer, ...]

    @property
    def int8(self) -> int:
        """How many weighted layers run in int8."""
        return sum(layer.kernel == "int8" for layer in self.layers)


def fusion(model: ir.Model, units: Sequence[Unit], planned: frozenset[str], config: SessionConfig) -> Fusion:
    """Let the runtime optimise ``model`` and say which layers became int8 kernels.

    A layer is found by its weights: whatever node of the optimised graph reads the initializer that the quantised
    model gave it. Layers that were planned for int8 and are not found behind an int8 kernel are the ones to look at.
    """
    graph = optimized(model, config).graph
    ops, kernels = _counted(graph)
    layers = []
    for unit in units:
        if unit.op not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or len(unit.anchor.inputs) < 2:
            continue
        if unit.name not in planned:
            layers.append(Layer(unit.name, unit.op, "float", unit.why_float or "float is faster here"))
            continue
        weight = unit.anchor.inputs[1]
        prefix = f"{weight.name if weight is not None else ''}_{unit.name}_quantized"
        behind = [op for name, ops in kernels.items() if name.startswith(prefix) for op in ops]
        layers.append(layer_behind(unit.name, unit.op, behind))
    return Fusion(dict(ops.most_common()), tuple(survivors(graph)), tuple(layers))


def survivors(graph: ir.Graph) -> Iterator[Survivor]:
    """Every QuantizeLinear and DequantizeLinear of an activation in ``graph``, and what keeps it there."""
    for node in graph:
        if node.op_type == "QuantizeLinear" and (value := node.inputs[0]) is not None:
            maker = value.producer()
            why = "it is an input of the model" if maker is None else f"{maker.op_type} before it runs in float"
            yield Survivor(node.op_type, str(value.name), why)
        elif node.op_type == "DequantizeLinear" and node.inputs[0] is not None and not node.inputs[0].is_initializer():
            value = node.outputs[0]
            readers = dict.fromkeys(reader.op_type for reader, _ in value.uses())
            reasons = [f"{', '.join(readers)} behind it runs in float"] if readers else []
            reasons += ["it is an output of the model"] if value.is_graph_output() else []
            yield Survivor(node.op_type, str(value.name), "; ".join(reasons))


def read_back(model: ir.Model, config: SessionConfig) -> tuple[Counter[str], Mapping[str, Sequence[str]]]:
    """The runtime's optimised graph, bodies included: how many nodes of each op, and the ops that read each value."""
    return _counted(optimized(model, config).graph)


def _counted(graph: ir.Graph) -> tuple[Counter[str], Mapping[str, Sequence[str]]]:
    readers: dict[str, list[str]] = {}
    ops: Counter[str] = Counter()
    for node in graph.all_nodes():
        ops[node.op_type] += 1
        for value in node.inputs:
            if value is not None:
                readers.setdefault(str(value.name), []).append(node.op_type)
    return ops, readers


def layer_behind(name: str, op: str, kernels: Sequence[str]) -> Layer:
    """The layer ``name`` that was written in int8; ``kernels`` are the ops that read its weights now."""
    if any(_INT8.match(kernel) for kernel in kernels):
        return Layer(name, op, "int8", None)
    why = f"the runtime left it as {', '.join(dict.fromkeys(kernels))}" if kernels else "the runtime left it float"
    return Layer(name, op, "float", why)
