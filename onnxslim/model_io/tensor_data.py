"""Tensors and types: whether the data fill the shape they claim, before anyone allocates for that shape.

Specification: TensorProto and TypeProto in https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from __future__ import annotations

import math

import onnx
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError, UnsupportedError

_DTYPES = frozenset(dtype.value for dtype in ir.DataType)

#: Where the elements of each type are when they are not in ``raw_data``; those of every other type are in int32_data.
_FIELD_BY_DTYPE = {
    ir.DataType.FLOAT: "float_data",
    ir.DataType.COMPLEX64: "float_data",
    ir.DataType.DOUBLE: "double_data",
    ir.DataType.COMPLEX128: "double_data",
    ir.DataType.INT64: "int64_data",
    ir.DataType.UINT32: "uint64_data",
    ir.DataType.UINT64: "uint64_data",
    ir.DataType.STRING: "string_data",
}
_TYPED_FIELDS = ("float_data", "int32_data", "int64_data", "uint64_data", "double_data", "string_data")

#: The keys of an external reference that the standard knows; the helpers of older onnx set any other as an attribute.
_EXTERNAL_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})

_MAX_ELEMENTS = 2**63 - 1


def check_texts(label: str, *fields: str | bytes) -> None:
    """Refuse text that is not UTF-8; protobuf hands such a field over as bytes.

    Raises:
        InvalidModelError: One of ``fields`` is bytes.
    """
    for field in fields:
        if isinstance(field, bytes):
            raise InvalidModelError(f"{label}: {field[:40]!r} is not UTF-8")


def check_tensor(proto: onnx.TensorProto, label: str) -> None:
    """Refuse a tensor whose data do not fill its shape exactly; of external data only the reference is read.

    Raises:
        InvalidModelError: An unknown type, a negative dimension, too few or too many data, or data in the wrong place.
    """
    check_texts(label, proto.name, proto.doc_string)
    if proto.data_type not in _DTYPES or proto.data_type == ir.DataType.UNDEFINED:
        raise InvalidModelError(f"{label} has an unknown element type ({proto.data_type})")
    if any(dim < 0 for dim in proto.dims):
        raise InvalidModelError(f"{label} has a negative dimension: {list(proto.dims)}")
    dtype, size = ir.DataType(proto.data_type), math.prod(proto.dims)
    used_fields = [name for name in _TYPED_FIELDS if len(getattr(proto, name))]
    if proto.HasField("raw_data"):
        used_fields.insert(0, "raw_data")
    if proto.data_location == onnx.TensorProto.EXTERNAL:
        if used_fields:
            raise InvalidModelError(f"{label} is in a file and inside the model at once")
        _check_reference(proto, dtype, size, label)
        return
    typed_field = _FIELD_BY_DTYPE.get(dtype, "int32_data")
    field = used_fields[0] if used_fields else typed_field
    if len(used_fields) > 1 or field not in (typed_field, "raw_data") or (field, dtype) == ("raw_data", ir.DataType.STRING):
        raise InvalidModelError(f"{label}: {dtype.name} elements in {' and '.join(used_fields)}, not in {typed_field}")
    actual, expected = len(getattr(proto, field)), _field_length(dtype, size, field)
    if actual != expected:
        unit = "bytes" if field == "raw_data" else "elements"
        shape = f"shape {list(proto.dims)} of {dtype.name}"
        raise InvalidModelError(f"{label}: {shape} needs {expected:,} {unit} of data, {actual:,} are there")


def _field_length(dtype: ir.DataType, size: int, field: str) -> int:
    """How long ``field`` is for ``size`` elements: raw data in bytes; 2 and 4 bits are packed in either."""
    if field == "raw_data" or (field == "int32_data" and dtype.bitwidth in (2, 4)):
        return -(-size * dtype.bitwidth // 8)
    return 2 * size if dtype in (ir.DataType.COMPLEX64, ir.DataType.COMPLEX128) else size


def _check_reference(proto: onnx.TensorProto, dtype: ir.DataType, size: int, label: str) -> None:
    entries: dict[str, str] = {}
    for entry in proto.external_data:
        check_texts(label, entry.key, entry.value)
        if entry.key not in _EXTERNAL_KEYS or entry.key in entries:
            raise InvalidModelError(f"{label}: '{entry.key}' of its external data is unknown or given twice")
        entries[entry.key] = entry.value
    if not entries.get("location"):
        raise InvalidModelError(f"{label} is in a file, but in none by name")
    if dtype == ir.DataType.STRING:
        raise InvalidModelError(f"{label}: strings cannot be in a file")
    for key in ("offset", "length"):
        text = entries.get(key, "0")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise InvalidModelError(f"{label}: {key} '{text}' of its external data is not a count of bytes")
    length, expected = int(entries.get("length", 0)), _field_length(dtype, size, "raw_data")
    if length not in (0, expected):
        raise InvalidModelError(
            f"{label}: shape {list(proto.dims)} of {dtype.name} is {expected:,} bytes, its external data have {length:,}"
        )


def check_type(proto: onnx.TypeProto, label: str) -> None:
    """Refuse a type that cannot exist, or that nothing is known about.

    A dimension of -1 is what some exporters write for an unknown one, and the runtime reads it so.

    Raises:
        InvalidModelError: An unknown element type, a dimension below -1, more elements than can be counted.
        UnsupportedError: An opaque type.
    """
    kind = proto.WhichOneof("value")
    check_texts(label, proto.denotation)
    if kind in ("tensor_type", "sparse_tensor_type"):
        inner = getattr(proto, kind)
        if inner.elem_type not in _DTYPES:
            raise InvalidModelError(f"{label} has an unknown element type ({inner.elem_type})")
        dims = inner.shape.dim
        check_texts(label, *(dim.dim_param for dim in dims), *(dim.denotation for dim in dims))
        if any(dim.dim_value < -1 for dim in dims):
            raise InvalidModelError(f"{label} has a negative dimension: {[dim.dim_value for dim in dims]}")
        if math.prod(dim.dim_value for dim in dims if dim.dim_value > 0) > _MAX_ELEMENTS:
            raise InvalidModelError(f"{label} is larger than can exist: {[dim.dim_value for dim in dims]}")
    elif kind in ("sequence_type", "optional_type"):
        inner = getattr(proto, kind)
        if inner.elem_type.WhichOneof("value") is None:
            raise InvalidModelError(f"{label} is a sequence or optional of nothing")
        check_type(inner.elem_type, label)
    elif kind == "map_type":
        key = proto.map_type.key_type
        if key not in _DTYPES or proto.map_type.value_type.WhichOneof("value") is None:
            raise InvalidModelError(f"{label} is a map of nothing, or with keys of an unknown element type ({key})")
        check_type(proto.map_type.value_type, label)
    elif kind is not None:
        raise UnsupportedError(f"{label} is {kind.removesuffix('_type')}, neither tensors nor maps of them")
