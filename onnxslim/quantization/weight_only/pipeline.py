"""Weights only: stored in 8 or 4 bits or as a codebook, while activations stay float.

=============  ====================  ==========================================  ====================================
``--weights``  linear layers         embedding tables                            convolutions, recurrent layers
=============  ====================  ==========================================  ====================================
int8           MatMulNBits, 8 bits,  large ones int8 rows, of which those        int8, expanded when the model is
               where that is         looked up are converted; others expanded    loaded
               faster than float;    when the model is loaded
               else expanded when
               the model is loaded
int4           MatMulNBits, 4 bits   the same                                    the same
codebook:K     indices and a table of K values, expanded when the model is loaded (all of them)
float16        half floats, made float32 again when the model is loaded (all of them, and what scales and shifts channels)
mixed          MatMulNBits, 2, 4 or  GatherBlockQuantized, the same              codebooks or int8, expanded
               8 bits each                                                       when the model is loaded
int8:qdq       DequantizeLinear      int8 rows                                   DequantizeLinear with a scale for
               in blocks, opset 21                                               each output
int4:qdq       the same, 4 bits      the same                                    the same, or 4 bits in blocks
=============  ====================  ==========================================  ====================================

Weights may be of any float type, also stored in 16 bits behind a Cast (:mod:`onnxslim.graph.stored_weights`); layers
that compute in another type than float32 read what is expanded, as do Einsum and layers fused for onnxruntime before.

What is expanded at load (:mod:`.expanded`) costs nothing at run time and saves nothing then: it is for the file. With data,
layers are rounded one after the other for what they then read, where that helps (:mod:`.correction`). MatMulNBits
(:mod:`.blocks`) reads codes at every product; which layers do is measured, or decided by their sizes (:mod:`.block_choice`).
It is onnxruntime's own op; ``:qdq`` says the same in the standard's (:mod:`.qdq_blockwise`), which TensorRT gets unasked,
its embedding tables through DequantizeLinear too.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.graph.constants import get_const_tensor
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.context import QuantizeContext
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.evaluation.group_losses import select_loss_feeds
from onnxslim.quantization.evaluation.judge import Judge
from onnxslim.quantization.linear_layers import MIN_WEIGHT_ELEMENTS
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.placement_selection import SelectedPlacement, select_milder_placement, select_placement
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.recorded_decisions import check_layers
from onnxslim.quantization.sqnr_floor import build_sqnr_error, check_sqnr, is_sqnr_asked
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only import codebook, half_floats, qdq_blockwise
from onnxslim.quantization.weight_only.block_choice import choose_block_layers
from onnxslim.quantization.weight_only.blocks import write_blockwise
from onnxslim.quantization.weight_only.builder import BuiltWeights, WeightsBuilder, write_halves
from onnxslim.quantization.weight_only.correction import WriteWeights, correct_weights
from onnxslim.quantization.weight_only.mixed.pipeline import quantize_mixed
from onnxslim.quantization.weight_only.weights import exclude_layers

#: Samples that times are measured on.
NUM_TIMING_SAMPLES = 4
#: Samples that results are judged on.
MAX_EVALUATION_SAMPLES = 32
#: Letters of a hint that lists what was left alone.
_MAX_HINT_LENGTH = 300
_CODEBOOK_PREFIX, _QDQ_SUFFIX = "codebook:", ":qdq"
#: A format for each weight, by what it costs the outputs.
MIXED = "mixed"
#: Of these some weights stay float where the outputs ask for it; what fewer bits cost, int8 would cost less.
_SELECTED_FORMATS = ("int8", "int8:qdq")


def parse_weight_format(text: str, *, only_qdq: bool = False, block_layers: Collection[str] | None = None) -> WriteWeights:
    """What ``int8``, ``int4`` (``:qdq`` or not), ``codebook:K`` or ``float16`` does to a model.

    Args:
        text: As on the command line.
        only_qdq: It is for a runtime that takes int8 from Q/DQ alone.
        block_layers: The linear layers that read blocks with ``int8`` or ``int4``, by name; None: all that can.

    Raises:
        UsageError: None of them, or K is no number from 2 to 256.
    """
    if text in ("int8", "int4"):
        return lambda model, exclude: write_blockwise(model, int(text[3:]), exclude, block_layers)
    if text in ("int8:qdq", "int4:qdq"):
        return lambda model, exclude: qdq_blockwise.write_blockwise_qdq(model, int(text[3]), exclude, only_qdq=only_qdq)
    if text.startswith(_CODEBOOK_PREFIX):
        k = text.removeprefix(_CODEBOOK_PREFIX)
        if not k.isdecimal() or not 2 <= int(k) <= 256:
            raise UsageError(f"--weights {text}: K is a number from 2 to 256", hint="codebook:16 is 4 bits a weight")
        return lambda model, exclude: codebook.write_codebooks(model, int(k), exclude)
    if text == "float16":  # a runtime that takes nothing but Q/DQ casts half floats, but not codes
        return lambda model, exclude: half_floats.write_half_floats(model, exclude, only_halves=only_qdq)
    raise UsageError(
        f"--weights {text}: unknown", hint="mixed, int8, int4, either of these with :qdq, codebook:16 or float16"
    )


def quantize_weights(
    model: ir.Model, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> tuple[ir.Model, QuantizeDecision]:
    """``model`` (prepared) with weights as ``options.weights`` says; data show how int8 is
    best rounded, what it costs and how long it takes, and none are needed.

    Raises:
        UsageError: The format is unknown, or ``min_sqnr`` without data.
        UnsupportedError: There is nothing that ``options.weights`` would make smaller.
        GateError: The outputs keep less than ``min_sqnr``.
    """
    assert options.weights is not None
    weight_format = options.weights
    if weight_format == MIXED:
        return quantize_mixed(model, context, options, report)
    is_recorded = options.float_units is not None and weight_format in _SELECTED_FORMATS
    asks_sqnr = not is_recorded and is_sqnr_asked(options, context.samples)
    reason = TARGETS[options.target].no_contrib_ops_reason
    if reason is not None and weight_format in ("int8", "int4"):
        weight_format += _QDQ_SUFFIX
        report.skip("MatMulNBits", reason)
    elif weight_format == "int4" and (slow := TARGETS[options.target].slow_blocks_reason) is not None:
        report.warnings.append(f"{slow}: 4 bits are for its size, or for WebGPU")
    source = model
    if weight_format.endswith(_QDQ_SUFFIX):
        source, warnings = prepare_model(model, qdq_blockwise.BLOCKWISE_OPSET, "weights in blocks")
        report.warnings += warnings
    check_layers(options, source)
    block_layers = choose_block_layers(source, context, options, report) if weight_format == "int8" else None
    # TensorRT takes int8 from Q/DQ and from nowhere else, not from a Gather of codes
    write = parse_weight_format(weight_format, only_qdq=reason is not None, block_layers=block_layers)
    correction = None
    if block_layers is not None:
        with report.part("rounding"):
            correction = correct_weights(source, write, block_layers, context, options, report)
    if correction is not None:
        write = correction.extend(write)
        report.count("layers rounded for the data", correction.layer_count)
    selected = _select_weights(source, write, context, options, report) if weight_format in _SELECTED_FORMATS else None
    if selected is None:
        result = model_file.clone(source)
        written = write(result, exclude_layers(options.exclude, options.float_units or ()))
        if options.float_units and not written.changed:
            written = write_halves(result, options)
    else:
        result, written = selected.variant.model, selected.built.written
        selected.describe(report)
    if not written.changed:
        reasons = "; ".join(dict.fromkeys(f"{entry.node}: {entry.reason}" for entry in written.skipped))
        raise UnsupportedError(
            "nothing to quantise: no layer has float weights that --weights would make smaller",
            hint=reasons[:_MAX_HINT_LENGTH] or None,
        )
    if selected is None and asks_sqnr:
        _check_outputs(source, result, context, options)
    report.add(written)
    if weight_format.startswith("int4") and (others := _count_wide_layers(source)):
        report.warnings.append(f"4 bits are for float32 layers: the weights of {others} in another float type are in 8 bits")
    context.progress("weights", 1, 1)
    if block_layers is None and options.placement == "measured" and context.samples is not None:
        timing_feeds = CalibrationFeeds(context.samples).for_timing(NUM_TIMING_SAMPLES, context.config, options.placement)
        candidates = {"float": model, "weights": result}
        _, seconds = placement_profiling.pick_fastest(candidates, timing_feeds, context.config, report)
        if seconds["weights"] > 1.05 * seconds["float"]:
            report.warnings.append(
                f"--weights {options.weights} is slower than float here: {seconds['weights'] * 1e3:.3g} ms against "
                f"{seconds['float'] * 1e3:.3g} ms; it makes the file smaller, not the inference faster"
            )
    decision = QuantizeDecision("weights", options.target, block_layers=block_layers)
    if block_layers is not None:
        decision = replace(decision, corrected_layers=0 if correction is None else correction.layer_count)
    if selected is None:
        return result, replace(decision, float_units=options.float_units)
    float_units = () if selected.index is None else selected.front[selected.index].float_units
    return result, replace(
        decision, float_units=float_units, front=selected.front, front_index=selected.index,
        mixed_reason=selected.reason,
    )  # fmt: skip


def _select_weights(
    model: ir.Model, write: WriteWeights, context: QuantizeContext, options: QuantizeOptions, report: StepReport
) -> SelectedPlacement[BuiltWeights] | None:
    """Which weights are int8, where somebody judges; None where all that can are."""
    judge = Judge(context, options)
    is_judged = judge.is_drop_judged or options.min_sqnr is not None
    is_given = options.float_units is not None and options.loss_share is None
    if context.samples is None or not (is_judged or options.loss_share is not None) or is_given:
        return None
    feeds = CalibrationFeeds(context.samples)
    loss_feeds = select_loss_feeds(model, feeds)
    builder = WeightsBuilder(model, write, feeds.last(MAX_EVALUATION_SAMPLES), loss_feeds, context=context, options=options)
    if options.float_units is not None and options.loss_share is not None:
        given = builder.all_units - frozenset(options.float_units)
        return select_milder_placement(builder, given, options.loss_share, context, report)
    selected = select_placement(model, builder, judge, builder.all_units, context, report)
    if selected.selection is not None and selected.selection.index is None and not judge.is_drop_judged:
        raise build_sqnr_error(selected.variant.output_errors, options)
    return selected


def _check_outputs(model: ir.Model, result: ir.Model, context: QuantizeContext, options: QuantizeOptions) -> None:
    """Hold ``result`` against what the outputs of ``model`` are to keep."""
    feeds = CalibrationFeeds(context.require_samples("quantize")).last(MAX_EVALUATION_SAMPLES)
    reference = ReferenceOutputs(model, feeds, context.config)
    errors = reference.merge_parts(reference.errors(result))
    instead = "--weights mixed takes the bits of each weight that keep it"
    check_sqnr(errors, options, form=f"--weights {options.weights}", instead=instead)


def _count_wide_layers(model: ir.Model) -> int:
    """Linear layers whose weights are floats of another type than float32, which no 4-bit kernel multiplies with."""
    weights = (get_const_tensor(node.inputs[1]) for node in model.graph.all_nodes() if node.op_type in ("MatMul", "Gemm"))
    return sum(
        weight is not None and weight.size >= MIN_WEIGHT_ELEMENTS and weight.dtype in FLOAT_TYPES - {ir.DataType.FLOAT}
        for weight in weights
    )
