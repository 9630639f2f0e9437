"""The quantised model run unit by unit, so that each layer can be mended with everything before it already quantised.

Activations between units are kept as the codes that the finished model will compute, one array a chunk of samples, and
are dropped when their last reader has run; so a pass over a network costs one inference of it and holds few bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import get_const_array
from onnxslim.graph.traversal import iter_reads
from onnxslim.quantization.qdq.fusion_groups import FusionGroup, QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq_in_place
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.tap_outputs import remove_unused


class LayerwiseReplay:
    """Runs the units of a plan in order.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        choices: Encodings, and the codes chosen so far; it is read anew for every unit.
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
        self._readers_left: dict[str, int] = {}
        for unit in plan.units:
            for name in _find_external_inputs(unit):
                self._readers_left[name] = self._readers_left.get(name, 0) + 1
        # what an int8 unit computes exists as codes alone; a float op's output stays float for its float readers
        int8_outputs = {str(value.name) for unit in self._int8_units.values() for value in unit.outputs}
        outputs = {str(value.name) for unit in plan.units for value in unit.outputs}
        float_reads = {name for unit in plan.units if unit.name not in plan.int8 for name in _find_external_inputs(unit)}
        self._quantized_names = plan.tensors.keys() & (int8_outputs | (outputs - float_reads))
        self._activations: dict[str, list[np.ndarray]] = {
            str(value.name): [chunk[str(value.name)] for chunk in chunks]
            for value in model.graph.inputs
            if value.name in self._readers_left
        }

    def get_activation(self, name: str, chunk: int) -> np.ndarray:
        """What is held of tensor ``name`` on a chunk: codes where only int8 units read it, else floats."""
        return self._activations[name][chunk]

    def to_float(self, name: str, values: np.ndarray) -> np.ndarray:
        """Elements of :meth:`get_activation` as the float32 values that the quantised model's int8 units read."""
        if name not in self._plan.tensors:
            return values
        encoding = self._qparams.encodings[name]
        return encoding.dequantize(values if name in self._quantized_names else encoding.quantize(values))

    def run(self, unit: FusionGroup) -> None:
        """Run ``unit`` on every chunk, keep what it computes, and let go of what nobody will read again."""
        inputs = [name for name in _find_external_inputs(unit) if name in self._activations]
        outputs = [str(value.name) for value in unit.outputs if str(value.name) in self._readers_left]
        if outputs:
            model, renamed = self._extract_unit(unit, inputs, outputs)
            feeds = (
                {renamed.get(name, name): self._activations[name][chunk] for name in inputs}
                for chunk in range(len(next(iter(self._activations.values()))))
            )

            def copy_outputs(index: int, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
                # copies: the runtime's own outputs would keep the whole blocks of memory they were cut from
                return [np.array(arrays[renamed.get(name, name)]) for name in outputs]

            for results in run_all(model, feeds, copy_outputs, self._config):
                for name, array in zip(outputs, results, strict=True):
                    self._activations.setdefault(name, []).append(array)
        for name in _find_external_inputs(unit):
            self._readers_left[name] -= 1
            if not self._readers_left[name]:
                self._activations.pop(name, None)

    def _extract_unit(
        self, unit: FusionGroup, inputs: Sequence[str], outputs: Sequence[str]
    ) -> tuple[ir.Model, dict[str, str]]:
        """A model of ``unit`` alone whose quantised inputs and outputs are codes; and tensor → the name of its codes."""
        graph = ir.convenience.extract(self._model.graph, list(inputs), list(outputs))
        graph.opset_imports.update(self._model.opset_imports)
        model = ir.Model(graph, ir_version=self._model.ir_version)
        model.functions.update(self._model.functions)
        names = {*inputs, *outputs}
        tensors = {name: group for name, group in self._plan.tensors.items() if name in names}
        int8_names = frozenset([unit.name]) if unit.name in self._int8_units else frozenset[str]()
        constants = tuple(str(v.name) for v in unit.inputs if str(v.name) in self._plan.constants) if int8_names else ()
        unit_plan = QuantizationPlan((unit,), int8_names, tensors, constants, self._plan.float_output & int8_names)
        insert_qdq_in_place(model, unit_plan.rebind(model), self._qparams)
        return model, _strip_boundary_qdq(model, self._quantized_names & names)


def _find_external_inputs(unit: FusionGroup) -> list[str]:
    """The tensors that a unit reads from outside, those that its subgraphs capture too."""
    produced = {value for node in unit.nodes for value in node.outputs}
    names: dict[str, None] = {}
    for node in unit.nodes:
        for value in iter_reads(node):
            outside = value.graph is node.graph and value not in produced
            if outside and get_const_array(value) is None and value.name:
                names[value.name] = None
    return list(names)


def _strip_boundary_qdq(model: ir.Model, quantized_names: Set[str]) -> dict[str, str]:
    """Cut off, in place, the QuantizeLinear at each input and the DequantizeLinear at each output in ``quantized_names``."""
    graph = model.graph
    renamed: dict[str, str] = {}
    for node in [node for node in graph if node.op_type == "QuantizeLinear"]:
        source, quantized = node.inputs[0], node.outputs[0]
        assert source is not None
        if source.is_graph_input() and source.name in quantized_names:
            name = str(source.name)
            quantized_input = ir.Value(
                name=f"{name}_codes", type=ir.TensorType(quantized.dtype or ir.DataType.UINT8), shape=source.shape
            )
            quantized.replace_all_uses_with(quantized_input)
            graph.remove(node, safe=True)
            dequantized = next(
                use.node.outputs[0] for use in quantized_input.uses() if use.node.op_type == "DequantizeLinear"
            )
            source.replace_all_uses_with(dequantized)
            graph.inputs[list(graph.inputs).index(source)] = quantized_input
            renamed[name] = f"{name}_codes"
        elif (name := str(quantized.name).removesuffix("_QuantizeLinear_Output")) in quantized_names:
            position = next(i for i, value in enumerate(graph.outputs) if value.name == name)
            graph.outputs[position] = quantized
            renamed[name] = str(quantized.name)
    remove_unused(graph)
    return renamed
