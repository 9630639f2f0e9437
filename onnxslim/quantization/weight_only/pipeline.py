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

Weights may be of any float type, also stored in 16 bits behind a Cast (:mod:`onnxslim.quantization.stored_weights`); layers
that compute in another type than float32 read what is expanded, as do Einsum and layers fused for onnxruntime before.

What is expanded at load (a Cast and a Mul, or a Gather, of constants, which the runtime folds) costs nothing and saves
nothing afterwards: it is for the download. MatMulNBits reads its codes at every product and rounds activations to int8
block by block (``accuracy_level`` 4; without, its 8-bit kernel is ten times slower than float), so it pays where weights
are read more than used: few rows, as in decoding. It is onnxruntime's own op; ``:qdq`` says the same in the standard's
(``standard.py``), which TensorRT gets unasked, its embedding tables through DequantizeLinear too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.dynamic.rewrite import write_weights
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS, MatMulLayer, WeightMatrix
from onnxslim.quantization.numerics import blockwise
from onnxslim.quantization.numerics.affine import compute_weight_scales, quantize_weight
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only import codebook, qdq_blockwise
from onnxslim.quantization.weight_only.weights import WeightTensor, find_weight_tensors

#: How MatMulNBits multiplies on the CPU: activations in int8 blocks.
ACCURACY_LEVEL = 4
#: Samples that times are measured on.
NUM_TIMING_SAMPLES = 4
#: Letters of a hint that lists what was left alone.
_MAX_HINT_LENGTH = 300
_CODEBOOK_PREFIX, _QDQ_SUFFIX = "codebook:", ":qdq"


def parse_weight_format(text: str, *, only_qdq: bool = False) -> Callable[[ir.Model, Sequence[str]], StepReport]:
    """What ``int8``, ``int4`` (``:qdq`` or not) or ``codebook:K`` does to a model.

    Args:
        text: As on the command line.
        only_qdq: It is for a runtime that takes int8 from Q/DQ alone.

    Raises:
        UsageError: None of them, or K is no number from 2 to 256.
    """
    if text in ("int8", "int4"):
        return lambda model, exclude: write_blockwise(model, int(text[3:]), exclude)
    if text in ("int8:qdq", "int4:qdq"):
        return lambda model, exclude: qdq_blockwise.write_blockwise_qdq(model, int(text[3]), exclude, only_qdq=only_qdq)
    if text.startswith(_CODEBOOK_PREFIX):
        k = text.removeprefix(_CODEBOOK_PREFIX)
        if not k.isdecimal() or not 2 <= int(k) <= 256:
            raise UsageError(f"--weights {text}: K is a number from 2 to 256", hint="codebook:16 is 4 bits a weight")
        return lambda model, exclude: codebook.write_codebooks(model, int(k), exclude)
    raise UsageError(f"--weights {text}: unknown", hint="int8, int4, either with :qdq, or codebook:16")


def quantize_weights(
    model: ir.Model, context: RunContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) with weights as ``options.weights`` says; data are needed for nothing but timing."""
    assert options.weights is not None
    weight_format = options.weights
    reason = TARGETS[options.target].no_contrib_ops_reason
    if reason is not None and weight_format in ("int8", "int4"):
        weight_format += _QDQ_SUFFIX
        report.skip("MatMulNBits", reason)
    source = model
    if weight_format.endswith(_QDQ_SUFFIX):
        source, warnings = prepare_model(model, qdq_blockwise.BLOCKWISE_OPSET, "weights in blocks")
        report.warnings += warnings
    result = model_file.clone(source)
    # TensorRT takes int8 from Q/DQ and from nowhere else, not from a Gather of codes
    written = parse_weight_format(weight_format, only_qdq=reason is not None)(result, options.exclude)
    if not written.changed:
        reasons = "; ".join(dict.fromkeys(f"{entry.node}: {entry.reason}" for entry in written.skipped))
        raise UnsupportedError(
            f"nothing to quantise: no layer has {MIN_WEIGHT_ELEMENTS} float weights or more that --weights takes",
            hint=reasons[:_MAX_HINT_LENGTH] or None,
        )
    report.add(written)
    context.progress("weights", 1, 1)
    if options.placement == "measured" and context.samples is not None:
        timing_feeds = CalibrationFeeds(context.samples).first(NUM_TIMING_SAMPLES)
        candidates = {"float": model, "weights": result}
        _, seconds = placement_profiling.pick_fastest(candidates, timing_feeds, context.config, report)
        if seconds["weights"] > 1.05 * seconds["float"]:
            report.warnings.append(
                f"--weights {options.weights} is slower than float here: {seconds['weights'] * 1e3:.3g} ms against "
                f"{seconds['float'] * 1e3:.3g} ms; it makes the file smaller, not the inference faster"
            )
    return result, QuantizeDecision("weights", options.target)


def write_blockwise(model: ir.Model, bits: int, exclude: Sequence[str] = ()) -> StepReport:
    """Linear layers in blocks of ``bits``, tables in rows and everything else in int8, in place."""
    report = write_weights(model, bits, exclude, _write_blockwise_weight)
    editor = GraphEditor(model.graph)
    other_weights, report.skipped = find_weight_tensors(model, exclude)
    for weight_tensor in other_weights:
        write_expanded(editor, weight_tensor)
    report.count("weights in int8, expanded at load", len(other_weights))
    return report


def write_expanded(editor: GraphEditor, weight_tensor: WeightTensor) -> None:
    """int8 codes and a scale for each slice; a Cast and a Mul of constants give the weights back at load."""
    flat, restore_shape = weight_tensor.split_by_scale()
    scales = compute_weight_scales(flat, 0)
    codes, stem = restore_shape(quantize_weight(flat, scales, 0)), str(weight_tensor.value.name)
    first, shape = editor.graph[0], ir.Shape(codes.shape)
    codes_value = editor.add_initializer(f"{stem}_quantized", codes)
    float_codes = editor.add_cast(codes_value, ir.DataType.FLOAT, before=first, name=f"{stem}_Cast")
    scale_value = editor.add_initializer(f"{stem}_scale", scales.reshape(weight_tensor.scale_shape))
    product = editor.add_node(
        "Mul", float_codes, scale_value, before=first, name=f"{stem}_Mul", dtype=ir.DataType.FLOAT, shape=shape
    )
    weight_tensor.replace(editor, product, first)


def _write_blockwise_weight(editor: GraphEditor, weight: WeightMatrix, bits: int) -> None:
    stem = str(weight.weight_value.name)
    quantized = blockwise.quantize_blockwise(weight.array if weight.scale_axis == 0 else weight.array.T, bits)
    codes = editor.add_initializer(f"{stem}_quantized", quantized.codes)
    scales = editor.add_initializer(f"{stem}_scale", quantized.scales)
    for linear in weight.linear_layers:
        # a weight that is read both ways lies as its first reader wants it
        if linear.transposed == (weight.scale_axis == 0):
            replace_with_matmul_nbits(editor, linear, quantized, codes, scales, linear.bias)


def replace_with_matmul_nbits(
    editor: GraphEditor,
    linear: MatMulLayer,
    quantized: blockwise.BlockwiseWeight,
    codes: ir.Value,
    scales: ir.Value,
    bias: ir.Value | None,
) -> None:
    """MatMulNBits of ``codes`` and an Add of ``bias`` instead of ``linear``."""
    node, (inputs, outputs) = linear.node, linear.matrix_shape
    editor.graph.opset_imports.setdefault("com.microsoft", 1)
    layout = {"K": inputs, "N": outputs, "bits": quantized.bits, "block_size": quantized.block_size}
    last = editor.add_node(
        "MatMulNBits", linear.activation, codes, scales, before=node,
        name=f"{linear.name}_MatMulNBits", domain="com.microsoft", dtype=ir.DataType.FLOAT,
        attributes={**layout, "accuracy_level": ACCURACY_LEVEL},
    )  # fmt: skip
    if bias is not None:
        last = editor.add_node("Add", last, bias, before=node, name=f"{linear.name}_Add")
    editor.replace_node(node, last)
