"""An ONNX model run by torch, so that its weights can learn.

Weights become ``nn.Parameter``s keyed by the name of their initializer; writing them back is a copy. Nothing else of
the graph changes: what is trained is the graph that is served, Q/DQ nodes included.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from torch import Tensor

from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.graph import shapes
from onnxslim.graph.traversal import iter_reads, iter_subgraphs, walk
from onnxslim.model_io import model_file
from onnxslim.recovery.ops.call import Call, OpFunction
from onnxslim.recovery.ops.table import OP_FUNCTIONS
from onnxslim.recovery.tensor_conversion import TORCH_DTYPES, to_torch
from onnxslim.recovery.torch_model.fused_fake_quant import fuse_fake_quant
from onnxslim.recovery.torch_model.trainable_weights import TrainableWeight, find_weights


@dataclass(frozen=True)
class _CompiledNode:
    """One node, ready to run; ``dead_values`` are the values that nothing needs behind it."""

    function: OpFunction
    call: Call
    dead_values: tuple[ir.Value, ...]


class TorchExecutor:
    """The main graph of a model on torch (CPU).

    Args:
        model: It is copied.
        trainable: Look for weights, and run Q/DQ pairs as one; without, every node is run as the standard says.

    Attributes:
        model: A private copy, functions inlined and shapes inferred.
        weights: What can be trained, by initializer name; the parameters themselves are ``weights[name].parameter``.

    Raises:
        UnsupportedError: A node that torch cannot run here; all such nodes are named.
    """

    def __init__(self, model: ir.Model, *, trainable: bool = True) -> None:
        self.model = model_file.clone(model)
        if self.model.functions:
            InlinePass()(self.model)
        shapes.infer(self.model)
        unsupported_nodes = find_unsupported_nodes(self.model)
        if unsupported_nodes:
            reasons = "; ".join(f"{node.name or '(unnamed)'}: {reason}" for node, reason in unsupported_nodes.items())
            raise UnsupportedError(f"cannot be run on torch: {reasons}")
        graph = self.model.graph
        self._trainable = trainable
        self.weights: dict[str, TrainableWeight] = find_weights(graph) if trainable else {}
        self._frozen_weights: dict[str, TrainableWeight] = {}
        trained_values = {graph.initializers[name] for name in self.weights}
        self._constants: dict[ir.Value, Any] = {}
        for subgraph in self.model.graphs():
            for value in subgraph.initializers.values():
                if value not in trained_values and value.const_value is not None:
                    self._constants[value] = to_torch(value.const_value.numpy(), value.const_value.dtype)
        self._compiled_graphs: dict[ir.Graph, list[_CompiledNode]] = {}
        self._local = threading.local()

    @property
    def _scopes(self) -> list[dict[ir.Value, Any]]:
        """The scopes that the calling thread is in, the innermost last: several threads may run one executor."""
        if not hasattr(self._local, "scopes"):
            self._local.scopes = []
        scopes: list[dict[ir.Value, Any]] = self._local.scopes
        return scopes

    @property
    def inputs(self) -> list[str]:
        """The names of the graph's inputs."""
        return [str(value.name) for value in self.model.graph.inputs]

    @property
    def float_outputs(self) -> list[str]:
        """The names of the graph's outputs that a gradient can come from."""
        floats = (None, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)
        return [str(value.name) for value in self.model.graph.outputs if value.dtype in floats]

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """The trained tensors by initializer name."""
        return {name: weight.parameter for name, weight in self.weights.items()}

    def freeze(self, names: Iterable[str]) -> None:
        """Leave some of :attr:`weights` as they are: no gradient is computed for them, and nothing writes them back."""
        for name in names:
            self._frozen_weights[name] = self.weights.pop(name)
            self._frozen_weights[name].parameter.requires_grad_(False)

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str] | None = None, *, detached: Collection[str] = ()
    ) -> dict[str, Any]:
        """Run once, recording gradients where torch is told to.

        Args:
            feeds: Inputs by name.
            outputs: Tensors of the main graph by name; the graph's outputs by default.
            detached: Tensors behind which no gradient passes: what reads them trains on their value alone.
        """
        graph = self.model.graph
        output_names = [str(value.name) for value in graph.outputs] if outputs is None else list(outputs)
        env: dict[ir.Value, Any] = dict(self._constants)
        for name, weight in (*self.weights.items(), *self._frozen_weights.items()):
            env[graph.initializers[name]] = weight.compute_value()
        results: dict[str, Any] = {}
        for value in graph.inputs:
            if value.name in feeds:
                env[value] = feeds[str(value.name)]
        for value in env:
            if value.name in output_names:
                results[str(value.name)] = env[value]
        for compiled in self._compile_graph(graph):
            for value, result in zip(compiled.call.node.outputs, self._run_node(compiled, env), strict=False):
                if value.name in output_names:
                    results[str(value.name)] = result
                env[value] = result.detach() if value.name in detached else result
            for value in compiled.dead_values:
                env.pop(value, None)
        return {name: results[name] for name in output_names}

    def write_back(self, model: ir.Model) -> None:
        """Copy the trained weights into the initializers of ``model`` of the same names, in place."""
        for name, weight in self.weights.items():
            initializer = model.graph.initializers[name]
            initializer.const_value = ir.tensor(weight.to_array(), dtype=weight.dtype, name=name)

    def _run_node(self, compiled: _CompiledNode, env: dict[ir.Value, Any]) -> Sequence[Any]:
        node = compiled.call.node
        inputs = [None if value is None else env[value] for value in node.inputs]
        self._scopes.append(env)
        try:
            result = compiled.function(compiled.call, *inputs)
        except OnnxslimError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnsupportedError(f"{node.name or '(unnamed)'} ({node.op_type}) fails on torch: {first_line}") from error
        finally:
            self._scopes.pop()
        return result if isinstance(result, tuple) else (result,)

    def _run_subgraph(self, graph: ir.Graph, inputs: Sequence[Any]) -> list[Any]:
        """Run a subgraph in the scope of the node that holds it."""
        env = dict(self._scopes[-1])
        env.update(zip(graph.inputs, inputs, strict=False))
        for compiled in self._compile_graph(graph):
            env.update(zip(compiled.call.node.outputs, self._run_node(compiled, env), strict=False))
        return [env[value] for value in graph.outputs]

    def _compile_graph(self, graph: ir.Graph) -> list[_CompiledNode]:
        if graph not in self._compiled_graphs:
            nodes = list(graph)
            last_use = {value: i for i, node in enumerate(nodes) for value in iter_reads(node)}
            dead_after: list[list[ir.Value]] = [[] for _ in nodes]
            for value, i in last_use.items():
                dead_after[i].append(value)
            self._compiled_graphs[graph] = [
                self._compile_node(node, dead_values) for node, dead_values in zip(nodes, dead_after, strict=True)
            ]
        return self._compiled_graphs[graph]

    def _compile_node(self, node: ir.Node, dead_values: Iterable[ir.Value]) -> _CompiledNode:
        attributes = {name: _convert_attribute(attribute) for name, attribute in node.attributes.items()}

        def body(name: str, inputs: Sequence[Any]) -> list[Any]:
            return self._run_subgraph(attributes[name], inputs)

        version = node.version or self.model.graph.opset_imports.get(node.domain, 1)
        function = (fuse_fake_quant(node) if self._trainable else None) or OP_FUNCTIONS[node.domain, node.op_type]
        return _CompiledNode(function, Call(node, version, attributes, body), tuple(dead_values))


def find_unsupported_nodes(model: ir.Model) -> dict[ir.Node, str]:
    """The nodes of the main graph that torch cannot run, each with the reason; a node answers for its subgraphs."""
    unsupported_nodes: dict[ir.Node, str] = {}
    for node in model.graph:
        reasons = (_find_unsupported_reason(inner) for inner in walk([node], iter_subgraphs))
        if (reason := next(filter(None, reasons), None)) is not None:
            unsupported_nodes[node] = reason
    return unsupported_nodes


def _find_unsupported_reason(node: ir.Node) -> str | None:
    if (node.domain, node.op_type) not in OP_FUNCTIONS:
        return f"no rule for {node.domain + '.' if node.domain else ''}{node.op_type}"
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype is not None and value.dtype not in TORCH_DTYPES:
            return f"{node.op_type} on {value.dtype.name} tensors"
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.SPARSE_TENSOR or attribute.name.startswith("value_string"):
            return f"{node.op_type} with {attribute.name}"
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype not in TORCH_DTYPES:
            return f"{node.op_type} of {attribute.as_tensor().dtype.name}"
    return None


def _convert_attribute(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return to_torch(tensor.numpy(), tensor.dtype)
    return attribute.value
