"""The quantised model run unit by unit, so that each layer can be mended with everything before it already quantised.

Activations between units are kept as the codes that the finished model will compute, one array a chunk of samples, and
are dropped when their last reader has run; so a pass over a network costs one inference of it and holds few bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.quantize.insert import Choices, write_qdq
from onnxslim.quantize.plan import Plan, Unit
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import prune_unused


class Replay:
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
        plan: Plan,
        choices: Choices,
        chunks: Sequence[Mapping[str, np.ndarray]],
        config: SessionConfig,
    ) -> None:
        self._model, self._plan, self._choices, self._config = model, plan, choices, config
        self._int8 = {unit.name: unit for unit in plan.units if unit.name in plan.int8}
        self._readers: dict[str, int] = {}
        for unit in plan.units:
            for name in _reads(unit):
                self._readers[name] = self._readers.get(name, 0) + 1
        # what an int8 unit computes exists as codes alone; a float op's output stays float for its float readers
        made = {str(value.name) for unit in self._int8.values() for value in unit.outputs}
        outputs = {str(value.name) for unit in plan.units for value in unit.outputs}
        floats = {name for unit in plan.units if unit.name not in plan.int8 for name in _reads(unit)}
        self._coded = plan.tensors.keys() & (made | (outputs - floats))
        self._held: dict[str, list[np.ndarray]] = {
            str(value.name): [chunk[str(value.name)] for chunk in chunks]
            for value in model.graph.inputs
            if value.name in self._readers
        }

    def held(self, name: str, chunk: int) -> np.ndarray:
        """What is held of tensor ``name`` on a chunk: codes where only int8 units read it, else floats."""
        return self._held[name][chunk]

    def floats(self, name: str, some: np.ndarray) -> np.ndarray:
        """Elements of :meth:`held` as the float32 values that the quantised model's int8 units read."""
        if name not in self._plan.tensors:
            return some
        encoding = self._choices.encodings[name]
        return encoding.dequantise(some if name in self._coded else encoding.quantise(some))

    def run(self, unit: Unit) -> None:
        """Run ``unit`` on every chunk, keep what it computes, and let go of what nobody will read again."""
        inputs = [name for name in _reads(unit) if name in self._held]
        outputs = [str(value.name) for value in unit.outputs if str(value.name) in self._readers]
        if outputs:
            model, renamed = self._extracted(unit, inputs, outputs)
            feeds = (
                {renamed.get(name, name): self._held[name][chunk] for name in inputs}
                for chunk in range(len(next(iter(self._held.values()))))
            )

            def keep(index: int, found: dict[str, np.ndarray]) -> list[np.ndarray]:
                # copies: the runtime's own outputs would keep the whole blocks of memory they were cut from
                return [np.array(found[renamed.get(name, name)]) for name in outputs]

            for results in run_all(model, feeds, keep, self._config):
                for name, array in zip(outputs, results, strict=True):
                    self._held.setdefault(name, []).append(array)
        for name in _reads(unit):
            self._readers[name] -= 1
            if not self._readers[name]:
                self._held.pop(name, None)

    def _extracted(self, unit: Unit, inputs: Sequence[str], outputs: Sequence[str]) -> tuple[ir.Model, dict[str, str]]:
        """A model of ``unit`` alone whose quantised inputs and outputs are codes; and tensor → the name of its codes."""
        graph = ir.convenience.extract(self._model.graph, list(inputs), list(outputs))
        graph.opset_imports.update(self._model.opset_imports)
        model = ir.Model(graph, ir_version=self._model.ir_version)
        model.functions.update(self._model.functions)
        names = {*inputs, *outputs}
        tensors = {name: group for name, group in self._plan.tensors.items() if name in names}
        chosen = frozenset([unit.name]) if unit.name in self._int8 else frozenset[str]()
        constants = tuple(str(v.name) for v in unit.inputs if str(v.name) in self._plan.constants) if chosen else ()
        part = Plan((unit,), chosen, tensors, constants, self._plan.float_output & chosen)
        write_qdq(model, part.on(model), self._choices)
        return model, _codes_only(model, self._coded & names)


def _reads(unit: Unit) -> list[str]:
    """The tensors that a unit reads from outside, those that its subgraphs capture too."""
    own = {value for node in unit.nodes for value in node.outputs}
    found: dict[str, None] = {}
    for node in unit.nodes:
        for value in (*node.inputs, *_captured(node)):
            if value is not None and value not in own and constant(value) is None and value.name:
                found[value.name] = None
    return list(found)


def _captured(node: ir.Node) -> list[ir.Value]:
    found = []
    for attribute in node.attributes.values():
        graphs = (
            [attribute.as_graph()]
            if attribute.type == ir.AttributeType.GRAPH
            else list(attribute.as_graphs())
            if attribute.type == ir.AttributeType.GRAPHS
            else []
        )
        for graph in graphs:
            inner = {value for member in graph.all_nodes() for value in member.outputs} | set(graph.inputs)
            for member in graph.all_nodes():
                found += [value for value in member.inputs if value is not None and value not in inner]
    return found


def _codes_only(model: ir.Model, coded: Set[str]) -> dict[str, str]:
    """Cut off, in place, the QuantizeLinear at each input and the DequantizeLinear at each output in ``coded``."""
    graph = model.graph
    renamed: dict[str, str] = {}
    for node in [node for node in graph if node.op_type == "QuantizeLinear"]:
        source, code = node.inputs[0], node.outputs[0]
        assert source is not None
        if source.is_graph_input() and source.name in coded:
            name = str(source.name)
            fresh = ir.Value(
                name=f"{name}_codes", type=ir.TensorType(code.dtype or ir.DataType.UINT8), shape=source.shape
            )
            code.replace_all_uses_with(fresh)
            graph.remove(node, safe=True)
            plain = next(use.node.outputs[0] for use in fresh.uses() if use.node.op_type == "DequantizeLinear")
            source.replace_all_uses_with(plain)
            graph.inputs[list(graph.inputs).index(source)] = fresh
            renamed[name] = f"{name}_codes"
        elif (name := str(code.name).removesuffix("_QuantizeLinear_Output")) in coded:
            position = next(i for i, value in enumerate(graph.outputs) if value.name == name)
            graph.outputs[position] = code
            renamed[name] = str(code.name)
    prune_unused(graph)
    return renamed
