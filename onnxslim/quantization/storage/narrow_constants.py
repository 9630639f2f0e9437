"""Constants in fewer bytes, behind nodes that the runtime computes while it loads the model.

What another form holds exactly (tables of indices, masks, whole numbers, the anchors of a detector) is stored in it whatever
reads it (:mod:`.encodings`). Floats that layers and norms read as weights, biases, scales and slopes, and that are not in
int8, are stored in half floats: eleven bits of each, 70 dB, where int8 with a scale for each output comes to 42. Others
(coordinates, frequencies, windows) stay as they are: whoever reads them may magnify their last bits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_tensor, is_made_of_constants, iter_initializers
from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.storage.encodings import ConstantForm, Narrowed, find_exact_forms
from onnxslim.quantization.weight_only.weight_readers import find_scale_axes

#: Bytes that must be saved for more nodes at load.
MIN_SAVED_BYTES = 48
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
#: Elements that no form saves enough of.
_MIN_ELEMENTS = 24
#: Numbers below this share of the largest may keep fewer.
_TINY_SHARE = 2.0**-14
#: What the weights of an output may lose, as a share of their energy.
_MAX_OUTPUT_ERROR = 1e-6


def narrow_constants(model: ir.Model, exclude: Sequence[str] = (), *, halves: bool = True, exact: bool = True) -> StepReport:
    """Store the constants of ``model`` in fewer bytes, in place, as far as that makes the file smaller.

    Args:
        model: Quantised; scales and zero points of quantisation ops stay as they are.
        exclude: Regular expressions of nodes that keep their floats.
        halves: Weights and what goes with them in half floats, which is not exact.
        exact: Whatever another type or form holds exactly.
    """
    report, editor = StepReport("narrow"), GraphEditor(model.graph)
    opset = model.opset_imports.get("") or 1
    # all are chosen before any is written: who reads constants is plain to see until then
    chosen = {
        value: form
        for _, _, value in iter_initializers(model)
        if (form := _choose(value, opset, exclude, halves=halves, exact=exact))
    }
    for value, form in chosen.items():
        tensor = get_const_tensor(value)
        assert tensor is not None
        editor.replace_value(value, form.write(editor, str(value.name), tensor), is_new=False)
        editor.remove_unread([value])
        is_half = isinstance(form, Narrowed) and form.dtype == ir.DataType.FLOAT16
        report.count("constants in half floats" if is_half else "constants in fewer bytes")
    return report


def _choose(value: ir.Value, opset: int, exclude: Sequence[str], *, halves: bool, exact: bool) -> ConstantForm | None:
    """The form that ``value`` is stored in; None where it stays as it is."""
    tensor = get_const_tensor(value)
    # few elements are not even looked at: sizes and axes, which shape inference has to see
    if tensor is None or tensor.size < _MIN_ELEMENTS or value.is_graph_output() or not _reads_nodes(value):
        return None
    wide = tensor.numpy()
    forms = list(find_exact_forms(wide, tensor.dtype, opset)) if exact else []
    if halves and _is_borne_in_halves(value, wide, tensor.dtype, exclude):
        forms.append(Narrowed(wide.astype(np.float16), ir.DataType.FLOAT16))
    best = min(forms, key=lambda form: form.nbytes, default=None)
    return best if best is not None and tensor.nbytes - best.nbytes >= MIN_SAVED_BYTES else None


def _reads_nodes(value: ir.Value) -> bool:
    """Whether all that reads ``value`` takes what a node makes: ops of runtimes may want constants, codes have scales, and
    what constant indices look up is a codebook.
    """
    uses = value.uses()
    return bool(uses) and not any(
        use.node.domain
        or "Linear" in use.node.op_type
        or (use.node.op_type == "Gather" and use.idx == 0 and _is_looked_up_at_load(use.node))
        for use in uses
    )


def _is_looked_up_at_load(gather: ir.Node) -> bool:
    return get_const_tensor(gather.inputs[1]) is None and is_made_of_constants(gather.inputs[1])


def _is_borne_in_halves(value: ir.Value, wide: np.ndarray, dtype: ir.DataType, exclude: Sequence[str]) -> bool:
    """Whether half floats are good enough: layers and norms alone read ``value``, none of them excluded, or it is the scale
    of codes, and what they lose is nothing beside int8.
    """
    nodes = [use.node for use in value.uses()]
    if dtype != ir.DataType.FLOAT or any(re.fullmatch(pattern, node.name or "") for node in nodes for pattern in exclude):
        return False
    if all(use.idx in _VECTOR_INPUTS.get(use.node.op_type, ()) or _is_code_scale(use.node) for use in value.uses()):
        return _keeps_numbers(wide)
    if wide.ndim < 2 or isinstance(axes := find_scale_axes(value, wide), str):
        return False
    return _keeps_outputs(wide, axes[0])


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


def _measure_half_errors(wide: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        errors: np.ndarray = np.abs(wide.astype(np.float16).astype(np.float32) - wide)
    return errors


def _keeps_numbers(wide: np.ndarray) -> bool:
    """Whether half floats keep every number to its eleventh bit, or to that of a number too small to count."""
    magnitudes = np.abs(wide)
    tolerance = np.maximum(magnitudes, _TINY_SHARE * magnitudes.max(initial=0.0))
    return bool((_measure_half_errors(wide) <= _HALF_ERROR * tolerance).all())


def _keeps_outputs(wide: np.ndarray, axes: Sequence[int]) -> bool:
    """Whether half floats keep the weights of every output, along ``axes``: a few that are next to nothing do not count."""
    shared = tuple(axis for axis in range(wide.ndim) if axis not in axes)
    error, energy = (np.square(array, dtype=np.float64).sum(axis=shared) for array in (_measure_half_errors(wide), wide))
    return bool((error <= _MAX_OUTPUT_ERROR * energy).all())
