"""Maps, and sequences of them: types for which onnx-ir has no class.

Nothing here computes with a map; a model may still take one (a DictVectorizer) or give one (a ZipMap). Such values are
without a type inside the library, and what the inputs and outputs said of theirs is kept beside the graph and written out
again. Of inner values the runtime infers it.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx
import onnx_ir as ir

#: Where a graph keeps the types of its inputs and outputs, by name, each a serialized TypeProto.
_META_KEY = "onnxslim.map_types"


def holds_map(proto: onnx.TypeProto) -> bool:
    """Whether ``proto`` is a map, or a sequence or an optional of something that holds one."""
    kind = proto.WhichOneof("value")
    return kind == "map_type" or (
        kind in ("sequence_type", "optional_type") and holds_map(getattr(proto, str(kind)).elem_type)
    )


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """``ir.from_proto``, which raises on a map, for a model that may hold some; ``proto`` is not changed."""
    types: dict[str, bytes] = {}
    if any(holds_map(value.type) for value in _list_values(proto)):
        proto, types = _leave_out(proto)
    model: ir.Model = ir.from_proto(proto)
    if types:
        model.graph.meta[_META_KEY] = types  # copies of the graph have it too
    return model


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """``ir.to_proto`` with the types that :func:`from_proto` kept."""
    proto = ir.to_proto(model)
    put_back(model.graph, proto.graph)
    return proto


def _leave_out(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, bytes]]:
    """A copy of ``proto`` without the types that hold maps, and those of its inputs and outputs by name."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    edge = (value for value in (*bare.graph.input, *bare.graph.output) if holds_map(value.type))
    types = {value.name: value.type.SerializeToString(deterministic=True) for value in edge}
    for value in _list_values(bare):
        if holds_map(value.type):
            value.ClearField("type")
    return bare, types


def put_back(graph: ir.Graph, proto: onnx.GraphProto) -> None:
    """Say again, in place, what the inputs and outputs in ``proto``, which was made of ``graph``, are."""
    types: dict[str, bytes] = graph.meta.get(_META_KEY, {})
    for value in (*proto.input, *proto.output) if types else ():
        if value.type.WhichOneof("value") is None and value.name in types:
            value.type.ParseFromString(types[value.name])


def describe(graph: ir.Graph, name: str) -> str | None:
    """The type of ``graph``'s input or output ``name`` in words, ``sequence(map(int64,float))``; None if it holds no map."""
    content = graph.meta.get(_META_KEY, {}).get(name)
    return None if content is None else _describe(onnx.TypeProto.FromString(content))


def _describe(proto: onnx.TypeProto) -> str:
    kind = proto.WhichOneof("value")
    if kind == "map_type":
        return f"map({ir.DataType(proto.map_type.key_type).name.lower()},{_describe(proto.map_type.value_type)})"
    if kind in ("sequence_type", "optional_type"):
        return f"{str(kind).removesuffix('_type')}({_describe(getattr(proto, str(kind)).elem_type)})"
    return ir.DataType(proto.tensor_type.elem_type).name.lower()


def _list_values(proto: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """Every value that has a type anywhere in ``proto``."""
    found: list[onnx.ValueInfoProto] = []
    nodes: list[onnx.NodeProto] = []
    graphs = [proto.graph]
    for function in proto.functions:
        found += function.value_info
        nodes += function.node
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            found += [*graph.input, *graph.output, *graph.value_info]
            nodes += graph.node
        else:
            graphs += _held_graphs(nodes.pop().attribute)
    return found


def _held_graphs(attributes: Iterable[onnx.AttributeProto]) -> list[onnx.GraphProto]:
    graphs: list[onnx.GraphProto] = []
    for attribute in attributes:
        graphs += [attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else attribute.graphs
    return graphs
