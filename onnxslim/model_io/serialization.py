"""One protobuf message, to a model and back."""

from __future__ import annotations

import copy
import mmap
from collections.abc import Iterable, Mapping
from typing import cast

import onnx
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError
from onnxslim.core.gc_pause import pause_gc
from onnxslim.model_io import checker, graph_names, map_types, protobuf_limits, tensors
from onnxslim.model_io.branch_constants import resolve_branch_constants

#: What one message can hold, in bytes, and how much of it is left to everything that is not a tensor.
MAX_MESSAGE_BYTES = 2**31 - 1
MAX_INLINE_BYTES = MAX_MESSAGE_BYTES - 2**26

#: What people pass by mistake, by its first bytes.
_FORMAT_HINTS = (
    (b"version https://git-lfs", "this is a Git LFS pointer: git lfs pull"),
    (b"PK\x03\x04", "this is a zip archive, as PyTorch writes; export it to ONNX first"),
    (b"\x89HDF", "this is HDF5, as Keras writes; export it to ONNX first"),
    (b"<", "this is a web page; was the download refused?"),
    (b"{", "this is JSON; the binary form is read"),
)


def parse(data: bytes | mmap.mmap, max_memory: int | None = None) -> onnx.ModelProto:
    """``data`` as a ModelProto, after its lengths were found sound.

    Raises:
        InvalidModelError: Not protobuf, or cut short.
        LimitError: Reading it takes more than ``max_memory`` bytes (by default 2.5 GB).
    """
    try:
        protobuf_limits.estimate_memory(data, protobuf_limits.DEFAULT_MAX_MEMORY if max_memory is None else max_memory)
    except InvalidModelError as error:
        hint = next((hint for start, hint in _FORMAT_HINTS if data[: len(start)] == start), None)
        raise InvalidModelError(error.message, hint=hint) from None
    try:
        with memoryview(data) as view:
            proto: onnx.ModelProto = onnx.ModelProto.FromString(view)
    except Exception as error:  # protobuf's DecodeError; what is left for it is mostly a list of numbers that ends early
        raise InvalidModelError(f"not an ONNX model: {_first_line(error)}") from error
    return proto


@pause_gc()
def build_model(proto: onnx.ModelProto) -> ir.Model:
    """The model that ``proto`` describes, sharing nothing with it; external data are still references.

    Raises:
        InvalidModelError: No graph, no version, a cycle, an undefined or duplicate name, a tensor whose data do not
            fill its shape, or anything the ONNX checker refuses.
        UnsupportedError: Older or newer than what is read here, an op the standard does not have, or sparse tensors and
            opaque types.
    """
    graph_names.check(proto)
    checker.check(proto)
    try:
        model = map_types.from_proto(proto)
    except (RuntimeError, ValueError, TypeError, KeyError, NotImplementedError, AssertionError) as error:
        kind = UnsupportedError if isinstance(_root_cause(error), NotImplementedError) else InvalidModelError
        raise kind(_first_line(error)) from error
    model.graph.name = model.graph.name or checker.DEFAULT_GRAPH_NAME
    for imports in (model.opset_imports, *(function.opset_imports for function in model.functions.values())):
        if "ai.onnx" in imports:  # the long name of "", which is what onnx-ir calls it on the nodes
            imports[""] = imports.pop("ai.onnx")
    for graph in tensors.iter_graphs(model):
        for value in (*graph.inputs, *(output for node in graph for output in node.outputs)):
            if value.shape is not None and any(isinstance(dim, int) and dim < 0 for dim in value.shape):
                value.shape = _free_negative_dims(value.shape)
    for value in tensors.iter_initializers(model):
        if value.const_value is not None:
            value.const_value = tensors.detach_from_proto(value.const_value)
    tensors.replace_attribute_tensors(model, tensors.detach_from_proto)
    resolve_branch_constants(model)
    return model


def clone(model: ir.Model) -> ir.Model:
    """A copy whose graph can be edited freely; the elements of its tensors are shared.

    Raises:
        InvalidModelError: A node reads a value that is made after it, or nowhere.
    """
    copied = _copy_model(model)
    aliases: dict[int, ir.TensorProtocol] = {}
    for value in tensors.iter_initializers(copied):
        if value.const_value is not None:  # renaming a value renames its tensor, so each copy has its own
            value.const_value = aliases.setdefault(id(value.const_value), tensors.make_alias(value.const_value))
    return copied


@pause_gc()
def to_bytes(model: ir.Model, locations: Mapping[int, tuple[int, int]] | None = None, file: str = "") -> bytes:
    """``model`` as the bytes of one ModelProto; the same model gives the same bytes, and it is not changed.

    Args:
        model: What to write.
        locations: The initializers that are in a data file, by the ``id`` of the tensor: offset and length in bytes.
        file: The name of that data file.

    Raises:
        LimitError: What is left inside is more than one message can hold.
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    stripped, locations = _shallow_copy(model) or _copy_model(model), locations or {}
    for value in tensors.iter_initializers(stripped):
        if value.const_value is None:
            raise InvalidModelError(f"initializer '{value.name}' has no value")
        if id(value.const_value) in locations:
            value.const_value = _make_reference(value.const_value, value.name or "", locations[id(value.const_value)], file)
        else:
            value.const_value = _inline_tensor(value.const_value, value.name)
        if not (value.is_graph_input() or value.is_graph_output() or value.doc_string or value.metadata_props):
            value.type = None  # the tensor says both again, and onnx-ir would write them out
            value.shape = None
    tensors.replace_attribute_tensors(stripped, lambda tensor, _: _inline_tensor(tensor, tensor.name))
    check_inline_bytes(
        tensors.nbytes(tensor) for tensor in tensors.iter_tensors(stripped) if not isinstance(tensor, ir.ExternalTensor)
    )
    try:
        proto = ir.to_proto(stripped)
        map_types.put_back(model.graph, proto.graph)
        if model.ir_version < graph_names.FREE_INITIALIZERS_IR:
            _list_initializers(proto.graph)
        for opset in proto.opset_import:
            if not opset.domain:
                opset.ClearField("domain")  # two bytes that most exporters save
        content: bytes = proto.SerializeToString(deterministic=True)
    except Exception as error:  # onnx-ir and protobuf raise whatever the odd value made them raise
        raise InvalidModelError(f"the model cannot be written: {_first_line(error)}") from error
    return content


def check_inline_bytes(sizes: Iterable[int]) -> None:
    """Refuse tensors of such ``sizes`` in one message where it cannot hold them.

    Raises:
        LimitError: It cannot.
    """
    total = sum(sizes)
    if total > MAX_INLINE_BYTES:
        raise LimitError(f"{total / 1e9:.1f} GB in one message, which holds 2", hint="write the tensors beside the model")


def to_bytes_without_weights(model: ir.Model, min_bytes: int) -> tuple[bytes, dict[str, ir.TensorProtocol]]:
    """``model`` as the bytes of one ModelProto without the elements of its large initializers, and those by name.

    For a reader that takes them from memory, so that nothing is copied; it must be given the tensors, because what the
    bytes say about where the elements are is made up.

    Args:
        model: What to write; it is not changed.
        min_bytes: Bytes from which on an initializer of the main graph counts as large, if no caller may replace it and
            numpy knows its type.

    Raises:
        LimitError: What is left is larger than a protobuf message can be (2 GB).
        InvalidModelError: The graph is broken, or an initializer has no value.
    """
    large: dict[str, ir.TensorProtocol] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or value.is_graph_input() or isinstance(tensor, ir.StringTensor) or tensor.nbytes < min_bytes:
            continue
        if tensor.dtype.numpy().isbuiltin == 1:  # not one that a package adds to numpy
            large[name] = tensor
    locations = {id(tensor): (0, tensor.nbytes) for tensor in large.values()}
    return to_bytes(model, locations, "apart"), large


def _list_initializers(graph: onnx.GraphProto) -> None:
    """List every initializer among the inputs, in place, as IR versions below 4 ask for."""
    listed = {value.name for value in graph.input}
    graph.input.extend(
        onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        for tensor in graph.initializer
        if tensor.name not in listed
    )


def _shallow_copy(model: ir.Model) -> ir.Model | None:
    """``model`` on its own nodes and with initializers of its own, which may then be replaced.

    Copying 20 000 nodes takes longer than writing them. None when it has to be copied all the same: it holds functions,
    graphs or tensors that are written otherwise than they are, or it is broken, and the copy finds out how.
    """
    graph = model.graph
    if model.functions or not isinstance(graph, ir.Graph):
        return None
    known = {*graph.inputs, *graph.initializers.values()}
    for node in graph:
        if any(value is not None and value not in known for value in node.inputs):
            return None
        if node.attributes and not all(map(_is_written_unchanged, node.attributes.values())):
            return None
        known.update(node.outputs)
    if not known.issuperset(graph.outputs):
        return None
    view = ir.GraphView(
        graph.inputs,
        graph.outputs,
        nodes=graph,
        initializers=[_copy_value(value) for value in graph.initializers.values()],
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=graph.metadata_props,
    )
    stripped = copy.copy(model)
    stripped.graph = cast(ir.Graph, view)
    return stripped


def _is_written_unchanged(attribute: ir.Attr) -> bool:
    if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS):
        return False
    return all(_inline_tensor(tensor, tensor.name) is tensor for tensor in tensors.get_attribute_tensors(attribute))


def _copy_value(value: ir.Value) -> ir.Value:
    twin = ir.Value(
        name=value.name,
        shape=value.shape,
        type=value.type,
        const_value=value.const_value,
        doc_string=value.doc_string,
        metadata_props=value.metadata_props,
    )
    twin.meta.update(value.meta)  # where onnx-ir keeps what the quantisation annotation says
    return twin


def _copy_model(model: ir.Model) -> ir.Model:
    try:
        return model.clone()
    except (RuntimeError, ValueError, KeyError) as error:
        raise InvalidModelError(f"the graph cannot be copied: {_first_line(error)}") from error


def _inline_tensor(tensor: ir.TensorProtocol, name: str | None) -> ir.TensorProtocol:
    """``tensor`` under ``name`` and with its elements, without touching it: another model may share it.

    (onnx-ir renames the tensor it writes, writes a reference for an external one, and the metadata of some twice.)
    """
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        message = onnx.TensorProto()
        message.CopyFrom(tensor.raw)
        message.ClearField("metadata_props")
        renamed = ir.serde.TensorProtoTensor(message)
        renamed.name = name or ""
        renamed.metadata_props.update(tensor.metadata_props)
        return renamed
    if isinstance(tensor, ir.StringTensor):
        return ir.StringTensor(tensor.string_data(), shape=tensor.shape, **{**tensors.get_metadata(tensor), "name": name})
    if tensor.name == name and not isinstance(tensor, ir.ExternalTensor):
        return tensor
    return tensors.with_name(tensor, name)


def _make_reference(tensor: ir.TensorProtocol, name: str, location: tuple[int, int], file: str) -> ir.ExternalTensor:
    metadata = {**tensors.get_metadata(tensor), "name": name}
    return ir.ExternalTensor(file, *location, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), **metadata)


def _free_negative_dims(shape: ir.Shape) -> ir.Shape:
    """``shape`` with -1, an exporter's way to say unknown, made unknown; the runtime reads it so too."""
    dims = [None if isinstance(dim, int) and dim < 0 else dim for dim in shape]
    return ir.Shape(dims, [shape.get_denotation(axis) for axis in range(len(dims))])


def _root_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    """What onnx-ir stumbled over first, without the pages of context it adds on the way out."""
    root = _root_cause(error)
    return (str(root).strip().splitlines() or [type(root).__name__])[0][:300]
