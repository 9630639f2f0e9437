"""What comes before any way to quantise: a model fit to be edited, patterns that mean something."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import onnx
import onnx_ir as ir

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.graph.quantized import detect_quantization
from onnxslim.graph.signature import freeze_initializer_inputs
from onnxslim.graph.stored_weights.unpacking import unpack_weights
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io.graph_names import FREE_INITIALIZERS_IR
from onnxslim.quantization import opset

#: Per-channel DequantizeLinear came with this opset.
PER_CHANNEL_OPSET = 13
#: What expands weights at load needs no more than this one: Slice with its bounds as inputs.
EXPANDED_WEIGHTS_OPSET = 10


def prepare_model(
    model: ir.Model, min_opset: int = PER_CHANNEL_OPSET, why: str = "per-channel weights"
) -> tuple[ir.Model, list[str]]:
    """``model``, or a copy with the opset raised to ``min_opset``, shapes inferred, every node named, weights that are
    stored in fewer bits made float initializers; and warnings.

    Raises:
        UnsupportedError: It is quantised already.
    """
    unpack_weights(model, expanded=True)
    kind = detect_quantization(model)
    if kind is not None:
        raise UnsupportedError(f"the model is quantised already: {kind}", hint="quantise the float model it came from")
    lists_initializers = model.ir_version < FREE_INITIALIZERS_IR
    if lists_initializers:
        freeze_initializer_inputs(model)
        model.ir_version = FREE_INITIALIZERS_IR
    model, raised_from = opset.raise_opset(model, min_opset)
    if lists_initializers or raised_from is not None:
        min_ir_version = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", model.opset_imports[""])])
        model.ir_version = max(model.ir_version, min_ir_version)
    shapes.infer(model)
    name_nodes(model.graph.all_nodes())
    return model, [f"opset raised from {raised_from} to {min_opset}: {why} need it"] if raised_from else []


def build_no_layers_error(model: ir.Model, expected: str) -> UnsupportedError:
    """Why ``model`` has no layer to quantise: ``expected``, or that its weights are of another type than float32."""
    dtypes = {
        array.dtype.name
        for node in model.graph.all_nodes()
        if node.op_type in LAYER_OPS and len(node.inputs) > 1 and (array := get_const_tensor(node.inputs[1])) is not None
    }
    other_dtypes = sorted(name for name in dtypes if name != ir.DataType.FLOAT.name)
    if other_dtypes and len(other_dtypes) == len(dtypes):
        return UnsupportedError(
            f"nothing to quantise: the layers' weights are {' and '.join(other_dtypes).lower()}, int8 is made of float32",
            hint="quantise the float32 model that it was made from",
        )
    recurrent = sorted({node.op_type for node in model.graph.all_nodes() if node.op_type in ("LSTM", "GRU", "RNN")})
    hint = f"--weights int8 stores the weights of {' and '.join(recurrent)} in a quarter" if recurrent else None
    return UnsupportedError(f"nothing to quantise: no {expected}", hint=hint)


def match_nodes(model: ir.Model, patterns: Sequence[str]) -> list[str]:
    """The names of the nodes that one of ``patterns`` matches whole."""
    names = [node.name or "" for node in model.graph.all_nodes()]
    return [name for name in names if any(re.fullmatch(pattern, name) for pattern in patterns)]


def check_patterns(model: ir.Model, patterns: Sequence[str]) -> None:
    """Refuse patterns that match no node of ``model``.

    Raises:
        UsageError: Not a regular expression, or it matches nothing; names the nearest nodes.
    """
    names = [node.name or "" for node in model.graph.all_nodes()]
    for pattern in patterns:
        try:
            matched = any(re.fullmatch(pattern, name) for name in names)
        except re.error as error:
            raise UsageError(f"--exclude {pattern}: not a regular expression ({error})") from None
        if not matched:
            nearest = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            raise UsageError(f"--exclude {pattern}: matches no node", hint=f"nearest: {', '.join(nearest) or 'none'}")
