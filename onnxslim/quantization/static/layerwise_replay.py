"""The quantised model run unit by unit, so that each layer can be mended with everything before it already quantised.

Activations between units are kept as the codes that the finished model will compute, one array a chunk of samples, and
are dropped when their last reader has run; so a pass over a network costs one inference of it and holds few bytes. Where no
activation is quantised, units wait until one is asked for what they compute, and run together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import onnx_ir as ir

from onnxslim.activations.segment_executor import copy_arrays, extract_segment, run_extracted
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.traversal import iter_reads
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq_in_place
from onnxslim.runtime.session import SessionConfig


class LayerwiseReplay:
    """Runs the units of a plan in order.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        qparams: Encodings, and the codes chosen so far; read anew for every unit.
        chunks: Feeds of the model, each of one or more samples.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        plan: QuantizationPlan,
        qparams: QuantizationParams,
        chunks: Sequence[Mapping[str, np.ndarray]],
        config: SessionConfig,
    ) -> None:
        self._model, self._plan, self._qparams, self._config = model, plan, qparams, config
        self._int8_units = {unit.name: unit for unit in plan.units if unit.name in plan.int8}
        self._last_readers = {name: unit.name for unit in plan.units for name in _find_external_inputs(unit)}
        # what an int8 unit computes exists as codes alone; a float op's output stays float for its float readers
        int8_outputs = {str(value.name) for unit in self._int8_units.values() for value in unit.outputs}
        outputs = {str(value.name) for unit in plan.units for value in unit.outputs}
        float_reads = {name for unit in plan.units if unit.name not in plan.int8 for name in _find_external_inputs(unit)}
        self._quantized_names = plan.tensors.keys() & (int8_outputs | (outputs - float_reads))
        names = [str(value.name) for value in model.graph.inputs if value.name in self._last_readers]
        self._waiting: list[FusionGroup] = []
        self._held = [{name: chunk[name] for name in names} for chunk in chunks]

    def get_activation(self, name: str, chunk: int) -> np.ndarray:
        """What is held of tensor ``name`` on a chunk: codes where only int8 units read it, else floats."""
        self._run_waiting()
        return self._held[chunk][name]

    def to_float(self, name: str, values: np.ndarray) -> np.ndarray:
        """Elements of :meth:`get_activation` as the float32 values that the quantised model's int8 units read."""
        if name not in self._plan.tensors:
            return values
        encoding = self._qparams.encodings[name]
        return encoding.dequantize(values if name in self._quantized_names else encoding.quantize(values))

    def run(self, unit: FusionGroup) -> None:
        """Run ``unit`` on every chunk, keep what it computes, and let go of what nobody will read again."""
        self._waiting.append(unit)
        if self._plan.tensors:
            self._run_waiting()

    def _run_waiting(self) -> None:
        units, self._waiting = self._waiting, []
        unit_names = {unit.name for unit in units}
        read_names = dict.fromkeys(name for unit in units for name in _find_external_inputs(unit))
        inputs = [name for name in read_names if name in self._held[0]]
        values = [str(value.name) for unit in units for value in unit.outputs]
        outputs = [name for name in values if self._last_readers.get(name, units[-1].name) not in unit_names]
        if outputs:
            segment = self._extract_units(units, inputs, outputs)
            for held, results in zip(self._held, run_extracted(segment, self._held, self._config), strict=True):
                held |= copy_arrays(results)
        for name in inputs:
            if self._last_readers[name] in unit_names:
                for held in self._held:
                    del held[name]

    def _extract_units(self, units: Sequence[FusionGroup], inputs: Sequence[str], outputs: Sequence[str]) -> ir.Model:
        """A model of ``units`` alone whose quantised inputs and outputs are codes."""
        model = extract_segment(self._model, inputs, outputs, self._held[0])
        names, node_names = {*inputs, *outputs}, {node.name for node in model.graph}
        # what nobody reads is not in it
        units = [unit for unit in units if all(node.name in node_names for node in unit.nodes)]
        tensors = {name: group for name, group in self._plan.tensors.items() if name in names}
        int8_units = [unit for unit in units if unit.name in self._int8_units]
        int8_names = frozenset(unit.name for unit in int8_units)
        values = dict.fromkeys(str(value.name) for unit in int8_units for value in unit.inputs)
        constants = tuple(name for name in values if name in self._plan.constants)
        plan = QuantizationPlan(tuple(units), int8_names, tensors, constants, self._plan.float_output & int8_names)
        insert_qdq_in_place(model, plan.rebind(model), self._qparams)
        _strip_boundary_qdq(model, self._quantized_names & names)
        return model


def _find_external_inputs(unit: FusionGroup) -> list[str]:
    """The tensors that a unit reads from outside, those that its subgraphs capture too."""
    produced = {value for node in unit.nodes for value in node.outputs}
    names: dict[str, None] = {}
    for node in unit.nodes:
        for value in iter_reads(node):
            outside = value.graph is node.graph and value not in produced
            if outside and get_const_tensor(value) is None and value.name:
                names[value.name] = None
    return list(names)


def _strip_boundary_qdq(model: ir.Model, quantized_names: Set[str]) -> None:
    """Cut off, in place, the QuantizeLinear at each input and the DequantizeLinear at each output in ``quantized_names``:
    codes come in and go out under the names of the tensors.
    """
    graph = model.graph
    for node in [node for node in graph if node.op_type == "QuantizeLinear"]:
        source, quantized = node.inputs[0], node.outputs[0]
        assert source is not None
        if source.is_graph_input() and source.name in quantized_names:
            quantized_input = ir.Value(
                name=source.name, type=ir.TensorType(quantized.dtype or ir.DataType.UINT8), shape=source.shape
            )
            quantized.replace_all_uses_with(quantized_input)
            graph.remove(node, safe=True)
            dequantized = next(
                use.node.outputs[0] for use in quantized_input.uses() if use.node.op_type == "DequantizeLinear"
            )
            source.replace_all_uses_with(dequantized)
            graph.inputs[list(graph.inputs).index(source)] = quantized_input
        elif (name := str(quantized.name).removesuffix("_QuantizeLinear_Output")) in quantized_names:
            position = next(i for i, value in enumerate(graph.outputs) if value.name == name)
            graph.outputs[position].name = f"{name}_boundary"
            graph.outputs[position] = quantized
            quantized.name = name
    GraphEditor(graph).remove_all_unread()
