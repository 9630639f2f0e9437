"""The ONNX checker's word on every operator, asked without the tensors.

The checker takes one serialised message and looks for external data beside the working directory. What it alone knows
(which inputs and attributes an op has at an opset) needs no weight, so it is given the model with every tensor emptied:
no second copy of a gigabyte, and no file opened by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import onnx

from onnxslim.errors import InvalidModelError, UnsupportedError

_Attr = onnx.AttributeProto
_CONTEXT = re.compile(r"^(?P<what>.*?) ==> Context: Bad node spec for node\. Name: (?P<name>.*?) OpType: (?P<op>\S+)")


def check(model: onnx.ModelProto) -> None:
    """Raise what the ONNX checker raises; ops of domains it does not know pass.

    Raises:
        InvalidModelError: The checker refuses the model.
        UnsupportedError: The standard has no such op at this opset.
    """
    light = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    _imports(model.opset_import, light.opset_import)
    light.metadata_props.extend(model.metadata_props)
    _graph(model.graph, light.graph)
    for function in model.functions:
        copy = light.functions.add(name=function.name, domain=function.domain, overload=function.overload)
        copy.input.extend(function.input)
        copy.output.extend(function.output)
        copy.attribute.extend(function.attribute)
        _imports(function.opset_import, copy.opset_import)
        _attributes(function.attribute_proto, copy.attribute_proto)
        _nodes(function.node, copy.node)
    try:
        onnx.checker.check_model(light)
    except onnx.checker.ValidationError as error:
        raise _translated(error) from None


def _graph(graph: onnx.GraphProto, light: onnx.GraphProto) -> None:
    light.name = graph.name
    light.input.extend(graph.input)
    light.output.extend(graph.output)
    for tensor in graph.initializer:
        light.initializer.append(_emptied(tensor))
    _nodes(graph.node, light.node)


def _imports(opsets: Iterable[onnx.OperatorSetIdProto], light: Any) -> None:
    for opset in opsets:
        light.add(domain=_short(opset.domain), version=opset.version)


def _short(domain: str) -> str:
    """The standard's domain has two names, and the checker of older onnx takes them for two domains."""
    return "" if domain == "ai.onnx" else domain


def _nodes(nodes: Iterable[onnx.NodeProto], light: Any) -> None:
    for node in nodes:
        copy = light.add(name=node.name, op_type=node.op_type, domain=_short(node.domain))
        if node.overload:
            copy.overload = node.overload
        copy.input.extend(node.input)
        copy.output.extend(node.output)
        _attributes(node.attribute, copy.attribute)


def _attributes(attributes: Iterable[onnx.AttributeProto], light: Any) -> None:
    for attribute in attributes:
        if attribute.ref_attr_name or attribute.type not in (
            _Attr.TENSOR,
            _Attr.TENSORS,
            _Attr.GRAPH,
            _Attr.GRAPHS,
        ):
            light.append(attribute)
            continue
        copy = light.add(name=attribute.name, type=attribute.type)
        if attribute.type == _Attr.TENSOR:
            copy.t.CopyFrom(_emptied(attribute.t))
        elif attribute.type == _Attr.GRAPH:
            _graph(attribute.g, copy.g)
        copy.tensors.extend(map(_emptied, attribute.tensors))
        for graph in attribute.graphs:
            _graph(graph, copy.graphs.add())


def _emptied(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])


def _translated(error: Exception) -> InvalidModelError | UnsupportedError:
    """The checker's paragraph as one line that begins with the node."""
    text = " ".join(str(error).split())
    found = _CONTEXT.match(text)
    if found is None:
        return InvalidModelError(text)
    label = f"node '{found['name']}' ({found['op']})"
    if found["what"].startswith("No Op registered"):
        return UnsupportedError(f"{label}: no op of the ONNX standard at this opset", hint="is its domain missing?")
    return InvalidModelError(f"{label}: {found['what']}")
