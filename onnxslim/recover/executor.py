"""An ONNX model run by torch, so that its weights can learn.

Weights become ``nn.Parameter``s keyed by the name of their initializer; writing them back is a copy. Nothing else of
the graph changes: what is trained is the graph that is served, Q/DQ nodes included.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import InlinePass
from torch import Tensor

from onnxslim import io
from onnxslim.errors import OnnxslimError, UnsupportedError
from onnxslim.graph import shapes
from onnxslim.recover.ops.call import Call, Op
from onnxslim.recover.ops.table import TABLE
from onnxslim.recover.pairs import paired
from onnxslim.recover.tensors import CARRIER, to_numpy, to_torch
from onnxslim.recover.weights import Weight, find_weights


@dataclass(frozen=True)
class _Step:
    """One node, ready to run; ``dead`` are the values that nothing needs behind it."""

    function: Op
    call: Call
    dead: tuple[ir.Value, ...]


class Executor:
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
        self.model = io.clone(model)
        if self.model.functions:
            InlinePass()(self.model)
        shapes.infer(self.model)
        refused = unsupported(self.model)
        if refused:
            reasons = "; ".join(f"{node.name or '(unnamed)'}: {reason}" for node, reason in refused.items())
            raise UnsupportedError(f"cannot be run on torch: {reasons}")
        graph = self.model.graph
        self._trainable = trainable
        self.weights: dict[str, Weight] = find_weights(graph) if trainable else {}
        learnt = {graph.initializers[name] for name in self.weights}
        self._constants: dict[ir.Value, Any] = {}
        for part in self.model.graphs():
            for value in part.initializers.values():
                if value not in learnt and value.const_value is not None:
                    self._constants[value] = to_torch(value.const_value.numpy(), value.const_value.dtype)
        self._plans: dict[ir.Graph, list[_Step]] = {}
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

    def run(
        self, feeds: Mapping[str, Tensor], outputs: Sequence[str] | None = None, *, cut: Collection[str] = ()
    ) -> dict[str, Any]:
        """Run once, recording gradients where torch is told to.

        Args:
            feeds: Inputs by name.
            outputs: Tensors of the main graph by name; the graph's outputs by default.
            cut: Tensors behind which no gradient passes: what reads them trains on their value alone.
        """
        graph = self.model.graph
        wanted = [str(value.name) for value in graph.outputs] if outputs is None else list(outputs)
        env: dict[ir.Value, Any] = dict(self._constants)
        for name, weight in self.weights.items():
            env[graph.initializers[name]] = weight.value()
        found: dict[str, Any] = {}
        for value in graph.inputs:
            if value.name in feeds:
                env[value] = feeds[str(value.name)]
        for value in env:
            if value.name in wanted:
                found[str(value.name)] = env[value]
        for step in self._plan(graph):
            for value, result in zip(step.call.node.outputs, self._results(step, env), strict=False):
                if value.name in wanted:
                    found[str(value.name)] = result
                env[value] = result.detach() if value.name in cut else result
            for value in step.dead:
                env.pop(value, None)
        return {name: found[name] for name in wanted}

    def numpy(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        """Run once without gradients; arrays in, arrays of the declared types out."""
        graph = self.model.graph
        types = {str(value.name): value.dtype for value in graph.inputs}
        types.update({str(output.name): output.dtype for node in graph for output in node.outputs})
        with torch.no_grad():
            results = self.run(
                {name: _tensors(array, types.get(name)) for name, array in feeds.items()}, outputs
            )
        return {name: _arrays(result, types.get(name)) for name, result in results.items()}

    def write_back(self, model: ir.Model) -> None:
        """Copy the trained weights into the initializers of ``model`` of the same names, in place."""
        for name, weight in self.weights.items():
            initializer = model.graph.initializers[name]
            initializer.const_value = ir.tensor(weight.array(), dtype=weight.dtype, name=name)

    def _results(self, step: _Step, env: dict[ir.Value, Any]) -> Sequence[Any]:
        node = step.call.node
        inputs = [None if value is None else env[value] for value in node.inputs]
        self._scopes.append(env)
        try:
            result = step.function(step.call, *inputs)
        except OnnxslimError:
            raise
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise UnsupportedError(
                f"{node.name or '(unnamed)'} ({node.op_type}) fails on torch: {line}"
            ) from error
        finally:
            self._scopes.pop()
        return result if isinstance(result, tuple) else (result,)

    def _body(self, graph: ir.Graph, inputs: Sequence[Any]) -> list[Any]:
        """Run a subgraph in the scope of the node that holds it."""
        env = dict(self._scopes[-1])
        env.update(zip(graph.inputs, inputs, strict=False))
        for step in self._plan(graph):
            env.update(zip(step.call.node.outputs, self._results(step, env), strict=False))
        return [env[value] for value in graph.outputs]

    def _plan(self, graph: ir.Graph) -> list[_Step]:
        if graph not in self._plans:
            nodes = list(graph)
            last: dict[ir.Value, int] = {}
            for i, node in enumerate(nodes):
                for value in _reads(node):
                    last[value] = i
            dying: list[list[ir.Value]] = [[] for _ in nodes]
            for value, i in last.items():
                dying[i].append(value)
            self._plans[graph] = [self._step(node, dead) for node, dead in zip(nodes, dying, strict=True)]
        return self._plans[graph]

    def _step(self, node: ir.Node, dead: Iterable[ir.Value]) -> _Step:
        attributes = {name: _python(attribute) for name, attribute in node.attributes.items()}

        def body(name: str, inputs: Sequence[Any]) -> list[Any]:
            return self._body(attributes[name], inputs)

        domain = _domain(node)
        version = node.version or self.model.graph.opset_imports.get(domain, 1)
        function = (paired(node) if self._trainable else None) or TABLE[domain, node.op_type]
        return _Step(function, Call(node, version, attributes, body), tuple(dead))


def unsupported(model: ir.Model) -> dict[ir.Node, str]:
    """The nodes of the main graph that torch cannot run, each with the reason; a node answers for its subgraphs."""
    refused: dict[ir.Node, str] = {}
    for node in model.graph:
        reasons = [reason for inner in _with_bodies(node) if (reason := _reason(inner)) is not None]
        if reasons:
            refused[node] = reasons[0]
    return refused


def _with_bodies(node: ir.Node) -> Iterable[ir.Node]:
    yield node
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            yield from attribute.as_graph().all_nodes()


def _reason(node: ir.Node) -> str | None:
    domain = _domain(node)
    if (domain, node.op_type) not in TABLE:
        return f"no rule for {domain + '.' if domain else ''}{node.op_type}"
    for value in (*node.inputs, *node.outputs):
        if value is not None and value.dtype is not None and value.dtype not in CARRIER:
            return f"{node.op_type} on {value.dtype.name} tensors"
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.SPARSE_TENSOR or attribute.name.startswith("value_string"):
            return f"{node.op_type} with {attribute.name}"
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype not in CARRIER:
            return f"{node.op_type} of {attribute.as_tensor().dtype.name}"
    return None


def _domain(node: ir.Node) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def _reads(node: ir.Node) -> Iterable[ir.Value]:
    """What a node needs: its inputs, and whatever its subgraphs capture."""
    for inner in _with_bodies(node):
        yield from (value for value in inner.inputs if value is not None)
        for attribute in inner.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from attribute.as_graph().outputs


def _python(attribute: ir.Attr) -> Any:
    if attribute.type == ir.AttributeType.TENSOR:
        held = attribute.as_tensor()
        return to_torch(held.numpy(), held.dtype)
    return attribute.value


def _tensors(array: Any, dtype: ir.DataType | None) -> Any:
    if array is None:
        return None
    return [to_torch(a, dtype) for a in array] if isinstance(array, list) else to_torch(array, dtype)


def _arrays(value: Any, dtype: ir.DataType | None) -> Any:
    if value is None:
        return None
    return [to_numpy(v, dtype) for v in value] if isinstance(value, list) else to_numpy(value, dtype)
