"""The ONNX checker's word on every operator, asked without the tensors.

The checker takes one serialised message and looks for external data beside the working directory. What it alone knows
(which inputs and attributes an op has at an opset) needs no weight, so it is given the model with every tensor emptied:
no second copy of a gigabyte, and no file opened by it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import onnx

from onnxslim.core.errors import InvalidModelError, UnsupportedError
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR

#: What a graph is called that came without a name, which the standard asks for.
DEFAULT_GRAPH_NAME = "graph"

_Attr = onnx.AttributeProto
_TYPES_WITH_TENSORS = (_Attr.TENSOR, _Attr.TENSORS, _Attr.GRAPH, _Attr.GRAPHS)
_ERROR_CONTEXT = re.compile(
    r"^(?P<what>.*?) ==> Context: Bad node spec for node\. Name: (?:(?P<name>.*?) )?OpType: (?P<op>\S+)"
)
_UNKNOWN_OP = re.compile(r"^No Op registered for (?P<op>\S+) with domain_version of ")
#: Ops that onnxruntime keeps in the standard's domain, and the opset from which the standard has them (never, for most):
#: what its own transformer optimiser and its exporter of decoders write, and the oldest converters. The checker refuses
#: some and prints a line about the others; the runtime's word counts.
_RUNTIME_OPS = {
    "LayerNormalization": 17, "ThresholdedRelu": 10, "MeanVarianceNormalization": 9,
    "SimplifiedLayerNormalization": math.inf,
    **dict.fromkeys("ATen Affine ConstantFill Crop DynamicSlice GRUUnit GivenTensorFill ImageScaler".split(), math.inf),
    **dict.fromkeys("ParametricSoftplus Scale ScaledTanh".split(), math.inf),
}  # fmt: skip
_RUNTIME_DOMAIN = "com.microsoft"


def check(model: onnx.ModelProto) -> None:
    """Raise what the ONNX checker raises; ops of domains it does not know pass.

    Raises:
        InvalidModelError: The checker refuses the model.
        UnsupportedError: The standard has no such op at this opset.
    """
    # Initializers that older files do not list among the inputs are no error to the runtime, nor is a graph without a name;
    # what is written lists them and has one.
    skeleton = onnx.ModelProto(ir_version=max(model.ir_version, FREE_INITIALIZERS_IR), producer_name=model.producer_name)
    _copy_opset_imports(model.opset_import, skeleton.opset_import)
    skeleton.metadata_props.extend(model.metadata_props)
    _copy_graph(model.graph, skeleton.graph)
    skeleton.graph.name = skeleton.graph.name or DEFAULT_GRAPH_NAME
    _move_runtime_ops(skeleton.graph.node, skeleton.opset_import)
    for function in model.functions:
        copy = skeleton.functions.add(name=function.name, domain=function.domain, overload=function.overload)
        copy.input.extend(function.input)
        copy.output.extend(function.output)
        copy.attribute.extend(function.attribute)
        _copy_opset_imports(function.opset_import, copy.opset_import)
        _copy_attributes(function.attribute_proto, copy.attribute_proto)
        _copy_nodes(function.node, copy.node)
        _move_runtime_ops(copy.node, copy.opset_import)
    try:
        onnx.checker.check_model(skeleton)
    except onnx.checker.ValidationError as error:
        raise _translate_error(error) from None


def _copy_graph(graph: onnx.GraphProto, target: onnx.GraphProto) -> None:
    target.name = graph.name
    _copy_values(graph.input, target.input)
    _copy_values(graph.output, target.output)
    target.initializer.extend(map(_empty_tensor, graph.initializer))
    _copy_nodes(graph.node, target.node)


def _copy_values(values: Iterable[onnx.ValueInfoProto], target: Any) -> None:
    """Copy ``values``, with a type and a shape where they have none.

    The checker asks for both and reads neither; the runtime infers them, or takes a shape for unknown.
    """
    for value in values:
        copy = target.add()
        copy.CopyFrom(value)
        if copy.type.WhichOneof("value") is None:
            copy.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if copy.type.HasField("tensor_type"):
            copy.type.tensor_type.shape.SetInParent()


def _copy_opset_imports(opsets: Iterable[onnx.OperatorSetIdProto], target: Any) -> None:
    versions = {_normalize_domain(opset.domain): opset.version for opset in opsets}
    for domain, version in versions.items():
        target.add(domain=domain, version=version)


def _normalize_domain(domain: str) -> str:
    """The standard's domain has two names, and the checker of older onnx takes them for two domains."""
    return "" if domain == "ai.onnx" else domain


def _copy_nodes(nodes: Iterable[onnx.NodeProto], target: Any) -> None:
    for node in nodes:
        copy = target.add(name=node.name, op_type=node.op_type, domain=_normalize_domain(node.domain))
        if node.overload:
            copy.overload = node.overload
        copy.input.extend(node.input)
        copy.output.extend(node.output)
        _copy_attributes(node.attribute, copy.attribute)


def _move_runtime_ops(nodes: Iterable[onnx.NodeProto], opset_imports: Any) -> None:
    """Give what the runtime adds to the standard's domain, in bodies too, the domain of its other ops, in place."""
    versions = {opset.domain: opset.version for opset in opset_imports}
    for node in nodes:
        if not node.domain and versions.get("", 0) < _RUNTIME_OPS.get(node.op_type, 0):
            node.domain = _RUNTIME_DOMAIN
            if _RUNTIME_DOMAIN not in {opset.domain for opset in opset_imports}:
                opset_imports.add(domain=_RUNTIME_DOMAIN, version=1)
        for attribute in node.attribute:
            if attribute.type in (_Attr.GRAPH, _Attr.GRAPHS):
                for graph in (attribute.g, *attribute.graphs):
                    _move_runtime_ops(graph.node, opset_imports)


def _copy_attributes(attributes: Iterable[onnx.AttributeProto], target: Any) -> None:
    for attribute in attributes:
        if attribute.ref_attr_name or attribute.type not in _TYPES_WITH_TENSORS:
            target.append(attribute)
            continue
        copy = target.add(name=attribute.name, type=attribute.type)
        if attribute.type == _Attr.TENSOR:
            copy.t.CopyFrom(_empty_tensor(attribute.t))
        elif attribute.type == _Attr.GRAPH:
            _copy_graph(attribute.g, copy.g)
        copy.tensors.extend(map(_empty_tensor, attribute.tensors))
        for graph in attribute.graphs:
            _copy_graph(graph, copy.graphs.add())


def _empty_tensor(tensor: onnx.TensorProto) -> onnx.TensorProto:
    return onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=[0])


def _translate_error(error: Exception) -> InvalidModelError | UnsupportedError:
    """The checker's paragraph as one line that begins with the node."""
    text = " ".join(str(error).split())
    match, unknown = _ERROR_CONTEXT.match(text), _UNKNOWN_OP.match(text)
    if match is None and unknown is None:
        return InvalidModelError(text)
    label = "" if match is None else f"a node {match['op']} without a name"
    if match is not None and match["name"]:
        label = f"node '{match['name']}' ({match['op']})"
    if unknown is None:
        return InvalidModelError(f"{label}: {match['what'] if match else text}")
    if match is None or match["op"] != unknown["op"]:  # of a body it names what holds it, of a function nothing
        label = f"{unknown['op']}, in {label or 'a function'}"
    return UnsupportedError(f"{label}: no op of the ONNX standard at this opset", hint="is its domain missing?")
