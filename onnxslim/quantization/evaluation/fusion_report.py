"""What the runtime made of a quantised model: its own optimised graph, read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.activations.output_error import to_decibels
from onnxslim.core.step_report import Skipped, StepReport
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.quantization.qdq.fusion_groups import FusionGroup
from onnxslim.quantization.targets.base import Target
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class ExecutedLayer:
    """One weighted layer of the model as it really runs.

    Attributes:
        name: The layer.
        op: Its op type in the float model.
        kernel: ``int8`` or ``float``.
        why: Why it is float, or None.
        sqnr_db: Of its own output in int8, in dB; None where it was not measured, or is exact.
    """

    name: str
    op: str
    kernel: str
    why: str | None
    sqnr_db: float | None = None

    def with_error(self, error: float | None) -> ExecutedLayer:
        """The layer, its own output having the relative squared error ``error``."""
        return replace(self, sqnr_db=round(-to_decibels(error), 2) if error else None)


@dataclass(frozen=True)
class SurvivingConversion:
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
class FusionReport:
    """The runtime's graph summed up: op counts, the conversions that survived, and each weighted layer."""

    ops: dict[str, int]
    surviving: tuple[SurvivingConversion, ...]
    layers: tuple[ExecutedLayer, ...]

    @property
    def int8_count(self) -> int:
        """How many weighted layers run in int8."""
        return sum(layer.kernel == "int8" for layer in self.layers)

    def summarize(self, report: StepReport) -> None:
        """Count the layers in ``report``, and say why those that stay in float do."""
        report.count("layers in int8", self.int8_count)
        report.count("layers in float", len(self.layers) - self.int8_count)
        report.skipped += [Skipped(layer.name, layer.why) for layer in self.layers if layer.why is not None]


def inspect_fusion(
    model: ir.Model, units: Sequence[FusionGroup], int8_names: frozenset[str], target: Target, config: SessionConfig
) -> FusionReport:
    """Let the runtime optimise ``model`` and say which layers became int8 kernels.

    A layer is found by its weights: whatever node of the optimised graph reads the initializer that the quantised
    model gave it. Layers that were planned for int8 and are not found behind an int8 kernel are the ones to look at.

    Where sessions of ``config`` are not the target, layers are told as they were written: what another runtime would fuse
    says nothing.
    """
    is_here = target.runs_on(config.provider_name)
    graph = read_optimized_graph(model, config).graph if is_here else None
    ops, kernels = (Counter[str](), dict[str, Sequence[str]]()) if graph is None else count_ops(graph)
    layers = []
    for unit in units:
        if unit.op not in LAYER_OPS or len(unit.anchor.inputs) < 2:
            continue
        if unit.name not in int8_names:
            layers.append(ExecutedLayer(unit.name, unit.op, "float", unit.why_float or "float is faster here"))
            continue
        if not is_here:
            layers.append(ExecutedLayer(unit.name, unit.op, "int8", None))
            continue
        weight = unit.anchor.inputs[1]
        prefix = f"{weight.name if weight is not None else ''}_{unit.name}_quantized"
        kernel_ops = [op for name, ops in kernels.items() if name.startswith(prefix) for op in ops]
        layers.append(classify_layer(unit.name, unit.op, kernel_ops, target))
    surviving = () if graph is None else tuple(find_surviving_conversions(graph))
    return FusionReport(dict(ops.most_common()), surviving, tuple(layers))


def find_surviving_conversions(graph: ir.Graph) -> Iterator[SurvivingConversion]:
    """Every QuantizeLinear and DequantizeLinear of an activation in ``graph``, and what keeps it there."""
    for node in graph:
        if node.op_type == "QuantizeLinear" and (value := node.inputs[0]) is not None:
            producer = value.producer()
            why = "it is an input of the model" if producer is None else f"{producer.op_type} before it runs in float"
            yield SurvivingConversion(node.op_type, str(value.name), why)
        elif node.op_type == "DequantizeLinear" and node.inputs[0] is not None and not node.inputs[0].is_initializer():
            value = node.outputs[0]
            readers = dict.fromkeys(reader.op_type for reader, _ in value.uses())
            reasons = [f"{', '.join(readers)} behind it runs in float"] if readers else []
            reasons += ["it is an output of the model"] if value.is_graph_output() else []
            yield SurvivingConversion(node.op_type, str(value.name), "; ".join(reasons))


def count_ops(graph: ir.Graph) -> tuple[Counter[str], Mapping[str, Sequence[str]]]:
    """How many nodes of each op the runtime's optimised ``graph`` has, bodies included, and the ops that read each value."""
    readers: dict[str, list[str]] = {}
    ops: Counter[str] = Counter()
    for node in graph.all_nodes():
        ops[node.op_type] += 1
        for value in node.inputs:
            if value is not None:
                readers.setdefault(str(value.name), []).append(node.op_type)
    return ops, readers


def classify_layer(name: str, op: str, kernels: Sequence[str], target: Target) -> ExecutedLayer:
    """The layer ``name`` that was written in int8; ``kernels`` are the ops that read its weights on ``target`` now."""
    if any(kernel.startswith(target.int8_kernels) for kernel in kernels):
        return ExecutedLayer(name, op, "int8", None)
    why = f"the runtime left it as {', '.join(dict.fromkeys(kernels))}" if kernels else "the runtime left it float"
    return ExecutedLayer(name, op, "float", why)
