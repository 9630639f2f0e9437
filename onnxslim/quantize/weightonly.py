"""Weights only: stored in 8 or 4 bits or as a codebook, while activations stay float.

=============  ====================  ==========================================  ====================================
``--weights``  linear layers         embedding tables                            convolutions, recurrent layers
=============  ====================  ==========================================  ====================================
int8           MatMulNBits, 8 bits   int8 rows; only those looked up are         int8, expanded when the model is
                                     converted                                   loaded
int4           MatMulNBits, 4 bits   the same                                    the same
codebook:K     indices and a table of K values, expanded when the model is loaded (all of them)
int8:qdq       DequantizeLinear      as above                                    DequantizeLinear with a scale for
               in blocks, opset 21                                               each output
int4:qdq       the same, 4 bits      as above                                    the same, or 4 bits in blocks
=============  ====================  ==========================================  ====================================

What is expanded at load (a Cast and a Mul, or a Gather, of constants, which the runtime folds) costs nothing and saves
nothing afterwards: it is for the download. MatMulNBits reads its codes at every product and rounds activations to int8
block by block (``accuracy_level`` 4; without, its 8-bit kernel is ten times slower than float), so it pays where weights
are read more than used: few rows, as in decoding. It is onnxruntime's own op; ``:qdq`` says the same in the standard's
(``standard.py``), which TensorRT gets unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.progress import Progress
from onnxslim.quantize import blocks, codebook, measure, standard
from onnxslim.quantize.encode import quantise_weight, weight_scales
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.integer import write_weights
from onnxslim.quantize.linear import SMALLEST, Linear, Weight
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.prepare import prepared
from onnxslim.quantize.storable import Storable, storables
from onnxslim.quantize.write import Writer, drop_unread
from onnxslim.runtime.session import SessionConfig

#: How MatMulNBits multiplies on the CPU: activations in int8 blocks.
ACCURACY = 4
#: Samples that times are measured on.
TIMED = 4
_CODEBOOK, _STANDARD = "codebook:", ":qdq"


def parse(text: str) -> Callable[[ir.Model, Account, Sequence[str]], None]:
    """What ``int8``, ``int4`` (``:qdq`` or not) or ``codebook:K`` does to a model.

    Raises:
        UsageError: None of them, or K is no number from 2 to 256.
    """
    if text in ("int8", "int4"):
        return lambda model, account, exclude: write_blocks(model, account, int(text[3:]), exclude)
    if text in ("int8:qdq", "int4:qdq"):
        return lambda model, account, exclude: standard.write(model, account, int(text[3]), exclude)
    if text.startswith(_CODEBOOK):
        k = text.removeprefix(_CODEBOOK)
        if not k.isdecimal() or not 2 <= int(k) <= 256:
            raise UsageError(f"--weights {text}: K is a number from 2 to 256", hint="codebook:16 is 4 bits a weight")
        return lambda model, account, exclude: codebook.write(model, account, int(k), exclude)
    raise UsageError(f"--weights {text}: unknown", hint="int8, int4, either with :qdq, or codebook:16")


def quantise_weights(
    model: ir.Model,
    samples: Samples | None,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """``model`` (prepared) with weights as ``options.weights`` says; data are needed for nothing but timing."""
    assert options.weights is not None
    form = options.weights
    if options.target == "tensorrt" and form in ("int8", "int4"):
        form += _STANDARD
        account.decline("MatMulNBits", "TensorRT does not know onnxruntime's own ops")
    source = model
    if form.endswith(_STANDARD):
        source = prepared(model, account, standard.OPSET, "weights in blocks")
    result = io.clone(source)
    parse(form)(result, account, options.exclude)
    if not account.changed:
        raise UnsupportedError(f"nothing to quantise: no layer has {SMALLEST} float32 weights or more")
    progress("weights", 1, 1)
    if options.placement == "measured" and samples is not None:
        seconds = measure.fastest({"float": model, "weights": result}, Feeds(samples).first(TIMED), config)[1]
        account.details["candidates"] = {name: round(value * 1e3, 4) for name, value in seconds.items()}
        if seconds["weights"] > 1.05 * seconds["float"]:
            account.warnings.append(
                f"--weights {options.weights} is slower than float here: {seconds['weights'] * 1e3:.3g} ms against "
                f"{seconds['float'] * 1e3:.3g} ms; it makes the file smaller, not the inference faster"
            )
    return result


def write_blocks(model: ir.Model, account: Account, bits: int, exclude: Sequence[str] = ()) -> None:
    """Linear layers in blocks of ``bits``, tables in rows and everything else in int8, in place."""
    writer = Writer(model)
    write_weights(writer, account, bits, exclude, _block)
    for storable in storables(model, account, exclude):
        expand(writer, storable)
        account.count("weights in int8, expanded at load")


def expand(writer: Writer, storable: Storable) -> None:
    """int8 codes and a scale for each slice; a Cast and a Mul of constants give the weights back at load."""
    flat, back = storable.slices()
    scales = weight_scales(flat, 0)
    codes, stem = back(quantise_weight(flat, scales, 0)), str(storable.value.name)
    first = writer.model.graph[0]
    real = writer.to_float(
        first, writer.constant(f"{stem}_quantized", codes), name=f"{stem}_Cast", shape=ir.Shape(codes.shape)
    )
    shaped = writer.constant(f"{stem}_scale", scales.reshape(storable.scale_shape))
    node = writer.before(
        first, "Mul", real, shaped, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=ir.Shape(codes.shape)
    )
    storable.value.replace_all_uses_with(node.outputs[0])
    drop_unread(writer.model, storable.value)


def _block(writer: Writer, weight: Weight, bits: int) -> None:
    stem = str(weight.source.name)
    found = blocks.quantise(weight.array if weight.axis == 0 else weight.array.T, bits)
    codes, scales = writer.constant(f"{stem}_quantized", found.codes), writer.constant(f"{stem}_scale", found.scales)
    for linear in weight.linears:
        # a weight that is read both ways lies as its first reader wants it
        if linear.transposed == (weight.axis == 0):
            multiply(writer, linear, found, codes, scales, linear.bias)


def multiply(
    writer: Writer, linear: Linear, found: blocks.Blocks, codes: ir.Value, scales: ir.Value, bias: ir.Value | None
) -> None:
    """MatMulNBits of ``codes`` and an Add of ``bias`` instead of ``linear``."""
    node, (inputs, outputs) = linear.node, linear.columns
    writer.model.opset_imports.setdefault("com.microsoft", 1)
    last = writer.before(
        node, "MatMulNBits", linear.activation, codes, scales,
        name=f"{linear.name}_MatMulNBits", domain="com.microsoft", dtype=ir.DataType.FLOAT,
        attributes={"K": inputs, "N": outputs, "bits": found.bits, "block_size": found.size, "accuracy_level": ACCURACY},
    )  # fmt: skip
    if bias is not None:
        last = writer.before(node, "Add", last.outputs[0], bias, name=f"{linear.name}_Add")
    writer.take_over(node, last)
    last.name = linear.name
