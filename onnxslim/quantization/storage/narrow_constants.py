"""Constants in a narrower type, behind a Cast that the runtime computes while it loads the model.

What a narrower type holds exactly (tables of indices, masks, whole numbers, ones) is stored in it whatever reads it. Floats
that layers and norms read as weights, biases, scales and slopes, and that are not in int8, are stored in half floats: eleven
bits of each, 70 dB, where int8 with a scale for each output comes to 42. Others (coordinates, frequencies, windows) stay as
they are: whoever reads them may magnify their last bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_tensor, iter_initializers
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.weight_only.weight_readers import find_scale_axes

#: Bytes that a Cast takes in the file, names being short; and what must be saved beyond for one more node at load.
CAST_BYTES, MIN_SAVED_BYTES = 40, 48
#: By type, those that may hold the same values, the narrowest first. -0.0 is no integer's.
_NARROWER: dict[ir.DataType, tuple[ir.DataType, ...]] = {
    ir.DataType.INT64: (
        ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16, ir.DataType.INT32,
    ),
    ir.DataType.INT32: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.UINT16, ir.DataType.INT16),
    ir.DataType.FLOAT: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT16),
    ir.DataType.DOUBLE: (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.FLOAT16, ir.DataType.FLOAT),
}  # fmt: skip
#: What reads vectors that scale or shift channels: (op type) → the inputs.
_VECTOR_INPUTS: dict[str, tuple[int, ...]] = {
    "Conv": (2,),
    "ConvTranspose": (2,),
    "Gemm": (2,),
    "LSTM": (3, 7),
    "GRU": (3,),
    "RNN": (3,),
    "BatchNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "LayerNormalization": (1, 2),
    "PRelu": (1,),
}
#: Half of the last of eleven bits, as a share of the number; subnormal halves keep fewer.
_HALF_ERROR = 2.0**-11
#: Numbers below this share of the largest may keep fewer.
_TINY_SHARE = 2.0**-14


def narrow_constants(model: ir.Model, exclude: Sequence[str] = (), *, halves: bool = True) -> StepReport:
    """Store the constants of ``model`` in narrower types, in place, as far as that makes the file smaller.

    Args:
        model: Quantised; scales and zero points of quantisation ops stay as they are.
        exclude: Regular expressions of nodes that keep their floats.
        halves: Weights and what goes with them in half floats, which is not exact.
    """
    report, editor = StepReport("narrow"), GraphEditor(model.graph)
    # all are chosen before any is written: who reads constants is plain to see until then
    chosen = {value: kind for _, _, value in iter_initializers(model) if (kind := _choose_type(value, exclude, halves))}
    for value, kind in chosen.items():
        tensor = get_const_tensor(value)
        assert tensor is not None
        first = editor.graph[0]
        narrow = editor.add_initializer(f"{value.name}_{kind.name.lower()}", tensor.numpy().astype(kind.numpy()), kind)
        cast = editor.add_cast(narrow, tensor.dtype, before=first, name=f"{value.name}_Cast")
        editor.replace_value(value, cast, is_new=False)
        editor.remove_unread([value])
        report.count("constants in half floats" if kind == ir.DataType.FLOAT16 else "constants in fewer bytes")
    return report


def _choose_type(value: ir.Value, exclude: Sequence[str], halves: bool) -> ir.DataType | None:
    """The type that ``value`` is stored in; None where it stays as it is."""
    tensor = get_const_tensor(value)
    if tensor is None or value.is_graph_output() or not _reads_casts(value):
        return None
    if tensor.nbytes < CAST_BYTES + MIN_SAVED_BYTES:  # nothing to save, whatever it holds
        return None
    wide = tensor.numpy()
    kind = _find_exact_type(wide, tensor.dtype)
    if kind is None and halves and _is_weight(value, wide, tensor.dtype, exclude) and _fits_half(wide):
        kind = ir.DataType.FLOAT16
    return kind if kind is not None and _pays(wide, kind) else None


def _reads_casts(value: ir.Value) -> bool:
    """Whether all that reads ``value`` takes what a node makes: ops of runtimes may want constants, codes have scales, and
    what constant indices look up is a codebook.
    """
    nodes = [use.node for use in value.uses()]
    return bool(nodes) and not any(
        node.domain or "Linear" in node.op_type or (node.op_type == "Gather" and _find_stored(node.inputs[1]) is not None)
        for node in nodes
    )


def _pays(wide: np.ndarray, kind: ir.DataType) -> bool:
    return wide.nbytes - wide.size * kind.numpy().itemsize >= CAST_BYTES + MIN_SAVED_BYTES


def _find_exact_type(wide: np.ndarray, dtype: ir.DataType) -> ir.DataType | None:
    """The narrowest type that holds all of ``wide`` bit for bit; None where none does."""
    for kind in _NARROWER.get(dtype, ()):
        with np.errstate(all="ignore"):
            if wide.astype(kind.numpy()).astype(wide.dtype).tobytes() == wide.tobytes():
                return kind
    return None


def _is_weight(value: ir.Value, wide: np.ndarray, dtype: ir.DataType, exclude: Sequence[str]) -> bool:
    """Whether layers and norms alone read ``value``, none of them excluded, or it is the scale of codes."""
    nodes = [use.node for use in value.uses()]
    if dtype != ir.DataType.FLOAT or any(re.fullmatch(pattern, node.name or "") for node in nodes for pattern in exclude):
        return False
    if all(use.idx in _VECTOR_INPUTS.get(use.node.op_type, ()) or _is_code_scale(use.node) for use in value.uses()):
        return True
    return wide.ndim >= 2 and not isinstance(find_scale_axes(value, wide), str)


def _is_code_scale(node: ir.Node) -> bool:
    """Whether ``node`` multiplies what a Cast makes of constant codes, or that once more."""
    producer = node.inputs[0].producer() if node.op_type == "Mul" and node.inputs[0] is not None else None
    if producer is not None and producer.op_type == "Mul":
        return _is_code_scale(producer)
    codes = _find_stored(node.inputs[0]) if node.op_type == "Mul" else None
    return codes is not None and codes.dtype in (ir.DataType.INT8, ir.DataType.UINT8)


def _find_stored(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The constant that a Cast makes ``value`` of."""
    producer = None if value is None else value.producer()
    return get_const_tensor(producer.inputs[0]) if producer is not None and producer.op_type == "Cast" else None


def _fits_half(wide: np.ndarray) -> bool:
    """Whether half floats keep every number to its eleventh bit, or to that of a number too small to count."""
    with np.errstate(all="ignore"):
        error = np.abs(wide.astype(np.float16).astype(np.float32) - wide)
    magnitudes = np.abs(wide)
    tolerance = np.maximum(magnitudes, _TINY_SHARE * magnitudes.max(initial=0.0))
    return bool((error <= _HALF_ERROR * tolerance).all())
