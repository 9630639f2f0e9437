"""Shapes: what is known of each tensor's dimensions, and binding the free ones."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.core.gc_pause import pause_gc
from onnxslim.graph.ml_shapes import annotate_ml_nodes
from onnxslim.model_io import map_types
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR

logger = logging.getLogger(__name__)

#: Initializers of more bytes are not shown to the inference; no shape is computed from that many numbers.
MAX_CONSTANT_BYTES = 1024

#: A free spatial dimension (rank 4 or 5, axes 2…) is counted at this size, every other free one at 1.
DEFAULT_SPATIAL_SIZE = 224

GRAPH_ATTRIBUTES = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)

#: How names begin that the inference invents for sizes that it cannot tell.
_INVENTED_NAME = "unk__"

#: Dimensions: an int where it is known, a name if symbolic, None where it is not known.
Dims: TypeAlias = "tuple[int | str | None, ...]"

#: Type and dimensions of a tensor, None where they are not known.
_InferredType: TypeAlias = "tuple[ir.DataType | None, list[int | ir.SymbolicDim] | None]"


@pause_gc()
def infer(model: ir.Model) -> None:
    """Annotate the values of ``model`` in place with inferred types and shapes; odd models keep what they had.

    This is ONNX's own inference, on a copy without the large weights: it only looks at the values of small ones. Where it
    knows nothing of an op (:mod:`onnxslim.graph.ml_shapes`), it goes on from what that op is known to give.

    An output that says other sizes than follow from the inputs, as a head that was cut off or has other classes leaves it,
    gets those that follow, as in the runtime, which warns and goes on: of other ops in its place it may refuse wrong sizes.
    Names that the inference invents for free sizes say inside the graph which are the same; outputs, which callers read, get
    none of them.
    """
    try:
        _infer_once(model)
        while annotate_ml_nodes(model):
            _infer_once(model)
    except Exception as error:  # what the C++ side and protobuf raise on odd models is not one family
        logger.debug("shape inference gave up: %s", error)


@dataclass(frozen=True)
class KnownShapes:
    """What a model tells of shapes.

    Attributes:
        values: Names of what nodes make whose shape is told.
        dim_names: The names of free sizes.
    """

    values: frozenset[str]
    dim_names: frozenset[str]


def list_known(model: ir.Model) -> KnownShapes:
    """What ``model`` tells of shapes."""
    made = [value for node in model.graph.all_nodes() for value in node.outputs if value.shape is not None]
    told = {dim for value in (*model.graph.inputs, *made) for dim in get_dims(value) or () if isinstance(dim, str)}
    return KnownShapes(frozenset(str(value.name) for value in made), frozenset(told))


def keep_known(model: ir.Model, known: KnownShapes) -> None:
    """Forget, in place, the type and shape of what standard nodes make inside the graph and names of free sizes, but for
    what is ``known``.

    What the runtime fuses hangs on the shapes that a file tells it, so a step that inferred some for itself takes them out
    again: else a result is another matter to it than the model that came in.
    """
    for node in model.graph.all_nodes():
        for value in () if node.domain else node.outputs:
            if value.name not in known.values and not value.is_graph_output():
                value.type = value.shape = None
    keep_dim_names(model, known.dim_names)


def keep_dim_names(model: ir.Model, names: Collection[str]) -> None:
    """Leave free sizes of what nodes make in ``model`` without a name, in place, but for ``names``: others are invented."""
    for value in (output for node in model.graph.all_nodes() for output in node.outputs):
        dims = get_dims(value) or ()
        if any(isinstance(dim, str) and dim not in names for dim in dims):
            value.shape = ir.Shape([dim if isinstance(dim, int) or dim in names else None for dim in dims])


def _infer_once(model: ir.Model) -> None:
    skeleton = _build_skeleton(model)
    declared = [
        _take_shape(proto) if (node := value.producer()) is not None and not node.domain else None
        for value, proto in zip(model.graph.outputs, skeleton.graph.output, strict=True)
    ]
    told = {dim.dim_param for value in skeleton.graph.input for dim in value.type.tensor_type.shape.dim}
    inferred = onnx.shape_inference.infer_shapes(skeleton, check_type=False, strict_mode=False, data_prop=True)
    for shape, value in zip(declared, inferred.graph.output, strict=True):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param.startswith(_INVENTED_NAME) and dim.dim_param not in told:
                dim.ClearField("dim_param")
        _complete_shape(value, shape)
    _annotate(model.graph, inferred.graph)


def _take_shape(value: onnx.ValueInfoProto) -> onnx.TensorShapeProto | None:
    """The shape of a tensor ``value``, which has none afterwards."""
    if not value.type.tensor_type.HasField("shape"):
        return None
    shape = onnx.TensorShapeProto()
    shape.CopyFrom(value.type.tensor_type.shape)
    value.type.tensor_type.ClearField("shape")
    return shape


def _complete_shape(value: onnx.ValueInfoProto, declared: onnx.TensorShapeProto | None) -> None:
    """Give ``value`` the dimensions of ``declared`` where inference found no number, in place."""
    found = value.type.tensor_type
    if declared is None:
        return
    if not found.HasField("shape"):
        found.shape.CopyFrom(declared)
    elif len(found.shape.dim) == len(declared.dim):
        for dim, said in zip(found.shape.dim, declared.dim, strict=True):
            if not dim.HasField("dim_value") and said.WhichOneof("value") is not None:
                dim.CopyFrom(said)


def _build_skeleton(model: ir.Model) -> onnx.ModelProto:
    # Below IR version 4 inference knows no initializer that is not an input as well.
    proto = onnx.ModelProto(ir_version=max(model.ir_version, FREE_INITIALIZERS_IR))
    for domain, version in model.opset_imports.items():
        proto.opset_import.add(domain=domain, version=version)
    proto.functions.extend(ir.serde.serialize_function(function) for function in model.functions.values())
    graph, inputs = proto.graph, dict.fromkeys(model.graph.inputs)
    graph.name = "skeleton"
    for value in inputs:
        ir.serde.serialize_value_into(graph.input.add(), value)
    for value in model.graph.initializers.values():
        stored = value.const_value
        if stored is None or (value in inputs and model.ir_version >= FREE_INITIALIZERS_IR):
            continue
        if stored.nbytes <= MAX_CONSTANT_BYTES:
            ir.serde.serialize_tensor_into(graph.initializer.add(), stored)
            graph.initializer[-1].name = value.name
        elif value not in inputs:
            graph.input.add(name=value.name, type=_make_type(stored))
    for node in model.graph:
        ir.serde.serialize_node_into(graph.node.add(), node)
        for output in node.outputs:
            if output.name and (output.shape is not None or node.domain) and not output.is_graph_output():
                ir.serde.serialize_value_into(graph.value_info.add(), output)
    for value in model.graph.outputs:
        ir.serde.serialize_value_into(graph.output.add(), value)
    map_types.put_back(model.graph, graph)  # inference of what reads a map dies of one without a type
    _copy_outer_constants(graph, {tensor.name: tensor for tensor in graph.initializer})
    return proto


def _copy_outer_constants(graph: onnx.GraphProto, constants: Mapping[str, onnx.TensorProto]) -> None:
    """Put the small outer constants that nested graphs read into them: inference does not look outside."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                own = {tensor.name for tensor in inner.initializer} | {name for n in inner.node for name in n.output}
                read = dict.fromkeys(name for n in inner.node for name in n.input if name not in own)
                inner.initializer.extend(constants[name] for name in read if name in constants)
                _copy_outer_constants(inner, {**constants, **{tensor.name: tensor for tensor in inner.initializer}})


def _make_type(tensor: ir.TensorProtocol) -> onnx.TypeProto:
    return onnx.helper.make_tensor_type_proto(int(tensor.dtype), tensor.shape.numpy())


def _annotate(graph: ir.Graph, inferred: onnx.GraphProto) -> None:
    infos = {info.name: info.type for info in (*inferred.value_info, *inferred.output) if info.HasField("type")}
    known_types: dict[bytes, _InferredType] = {}
    for index, node in enumerate(graph):
        for output in node.outputs:
            if output.name in infos:
                _set_type(output, infos[output.name], known_types)
        if any(attribute.type in GRAPH_ATTRIBUTES for attribute in node.attributes.values()):
            for attribute in inferred.node[index].attribute:
                for inner, inner_proto in _pair_subgraphs(node, attribute):
                    _annotate(inner, inner_proto)


def _pair_subgraphs(node: ir.Node, attribute: onnx.AttributeProto) -> Iterator[tuple[ir.Graph, onnx.GraphProto]]:
    if attribute.HasField("g"):
        yield node.attributes[attribute.name].as_graph(), attribute.g
    elif attribute.graphs:
        yield from zip(node.attributes[attribute.name].as_graphs(), attribute.graphs, strict=True)


def _set_type(value: ir.Value, type_proto: onnx.TypeProto, known_types: dict[bytes, _InferredType]) -> None:
    """Annotate ``value`` with what inference found; ``known_types`` are the types read so far, of which a network has
    few.
    """
    if map_types.holds_map(type_proto):
        return
    if not type_proto.HasField("tensor_type"):
        value.type = ir.serde.deserialize_type_proto_for_type(type_proto)
        return
    key = type_proto.SerializeToString()
    if key not in known_types:
        known_types[key] = _read_type(type_proto.tensor_type)
    dtype, dims = known_types[key]
    if dtype is not None and value.dtype is not dtype:
        value.type = ir.TensorType(dtype)
    if dims is not None:
        value.shape = ir.Shape(dims)


def _read_type(tensor: onnx.TypeProto.Tensor) -> _InferredType:
    dtype = ir.DataType(tensor.elem_type) if tensor.elem_type else None
    if not tensor.HasField("shape"):
        return dtype, None
    entries = [dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim]
    return dtype, [dim if isinstance(dim, int) else ir.SymbolicDim(dim) for dim in entries]


def get_dims(value: ir.Value | None) -> Dims | None:
    """The dimensions of ``value``: an int if known, a name if symbolic, None if unknown; None without a rank."""
    if value is None or value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def can_agree(a: Dims | None, b: Dims | None) -> bool:
    """Whether two shapes can be one: an unknown one suits any, as a free dimension does; two numbers must be equal."""
    if a is None or b is None:
        return True
    pairs = zip(a, b, strict=False)
    return len(a) == len(b) and all(x == y or not (isinstance(x, int) and isinstance(y, int)) for x, y in pairs)


def get_static_dims(value: ir.Value | None) -> tuple[int, ...] | None:
    """The dimensions of ``value`` when every one of them is known."""
    all_dims = get_dims(value)
    if all_dims is None:
        return None
    known = tuple(dim for dim in all_dims if isinstance(dim, int))
    return known if len(known) == len(all_dims) else None


def get_nbytes(value: ir.Value) -> int | None:
    """Bytes of ``value`` by its type and dimensions; None when one is not known, or it is no tensor of numbers."""
    dims = get_static_dims(value)
    untyped = (None, ir.DataType.UNDEFINED, ir.DataType.STRING)
    if dims is None or not isinstance(value.type, ir.TensorType) or value.dtype in untyped:
        return None
    return math.ceil(math.prod(dims) * value.type.dtype.itemsize)


def get_required_inputs(model: ir.Model) -> list[ir.Value]:
    """The graph inputs that a caller must feed: those without a default."""
    return [value for value in model.graph.inputs if value.name not in model.graph.initializers]


def resolve_sizes(value: ir.Value, dim_sizes: Mapping[str, int] | None = None) -> tuple[int, ...]:
    """Concrete dimensions for a graph input: given by name, else 1, or 224 for the spatial ones."""
    dim_sizes = dim_sizes or {}
    all_dims = get_dims(value) or ()
    return tuple(
        dim
        if isinstance(dim, int)
        else dim_sizes.get(dim or "", DEFAULT_SPATIAL_SIZE if len(all_dims) in (4, 5) and axis >= 2 else 1)
        for axis, dim in enumerate(all_dims)
    )


def read_dim_sizes(model: ir.Model, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
    """What the names of the inputs' free dimensions stand for in ``feed``."""
    sizes_by_dim: dict[str, int] = {}
    for value in get_required_inputs(model):
        if value.name in feed:
            sizes = zip(get_dims(value) or (), feed[str(value.name)].shape, strict=False)
            sizes_by_dim.update((dim, size) for dim, size in sizes if isinstance(dim, str))
    return sizes_by_dim


def bind(model: ir.Model, dim_sizes: Mapping[str, int] | None = None) -> None:
    """Fix every free input dimension in place (see :func:`resolve_sizes`) and infer the shapes that follow.

    Raises:
        UsageError: ``dim_sizes`` names a dimension that no input has.
    """
    names = {dim for value in get_required_inputs(model) for dim in get_dims(value) or () if isinstance(dim, str)}
    for name in dim_sizes or {}:
        if name not in names:
            raise UsageError(f"--dim {name}: no input has it", hint=f"free dimensions: {', '.join(sorted(names)) or 'none'}")
    for value in get_required_inputs(model):
        if value.shape is not None:
            value.shape = ir.Shape(resolve_sizes(value, dim_sizes))
    for node in model.graph.all_nodes():
        for output in node.outputs:
            if not output.is_graph_output():
                output.shape = None
    for output in model.graph.outputs:
        if output.shape is not None and any(not isinstance(dim, int) for dim in output.shape):
            output.shape = ir.Shape([dim if isinstance(dim, int) else None for dim in output.shape])
    infer(model)
