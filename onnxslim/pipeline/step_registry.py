"""The steps that a recipe may name: the options of each, and how it runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import stop_after
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.graph.signature import list_input_names
from onnxslim.pruning.options import PruneDecision, PruneOptions
from onnxslim.pruning.selection.survey import Surveys
from onnxslim.pruning.step import prune
from onnxslim.quantization.context import DropOverLimit
from onnxslim.quantization.decision import QuantizeDecision
from onnxslim.quantization.options import ACTIVATION_MODES, QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.recovery.options import RecoverDecision, RecoverOptions
from onnxslim.recovery.step import recover
from onnxslim.simplification.step import SimplifyOptions, simplify


@dataclass(frozen=True)
class StepContext(RunContext):
    """What a step may use besides the model, of which every initializer that is still an input is to stay one.

    Attributes:
        original: The model before the first step; recovery learns from it.
        seed: Of every draw of a step whose options name none.
        surveys: What pruning found out about models with the same samples.
        tune_samples: Samples that nothing is fitted to and that may be chosen by, the *tune* data; None without any.
        drop_over_limit: A model's drop on the *tune* data beside what the gates allow; None without such data.
        whole: The model that a share to prune is of, where simplification took channels from it already; else None.
    """

    original: ir.Model = field(kw_only=True)
    seed: int = 0
    surveys: Surveys = field(default_factory=Surveys)
    tune_samples: Samples | None = None
    drop_over_limit: Callable[[ir.Model], DropOverLimit] | None = None
    whole: ir.Model | None = None


StepOptions = Any
AppliedStep = tuple[ir.Model, StepReport, StepOptions]


@dataclass(frozen=True)
class StepKind:
    """A step that recipes know.

    Attributes:
        options_class: Their type.
        apply: How it runs; it returns the resolved options too.
        is_timed: Whether with these options a clock decides something, so that the outcome is this machine's own.
    """

    options_class: type[Any]
    apply: Callable[[ir.Model, Any, StepContext], AppliedStep]
    is_timed: Callable[[Any], bool] = lambda options: False


def _simplify(model: ir.Model, options: SimplifyOptions, context: StepContext) -> AppliedStep:
    result, report = simplify(model, options, kept_inputs=list_input_names(model), progress=context.progress)
    return result, report, options


def _prune(model: ir.Model, options: PruneOptions, context: StepContext) -> AppliedStep:
    options = dataclasses.replace(options, seed=options.seed or context.seed)
    # a size is that of a file: what exact steps saved counts, whatever it was
    whole = context.whole if options.max_size is None else context.original
    result, report = prune(
        model, context.samples, options, config=context.config, surveys=context.surveys, whole=whole,
        kept_inputs=list_input_names(model), progress=stop_after(context.deadline, context.progress, "prune"),
        deadline=context.deadline,
    )  # fmt: skip
    decision: PruneDecision = report.decision
    options = dataclasses.replace(options, of=decision.of)
    if decision.by_clock and options.cuts is None:
        options = dataclasses.replace(options, cuts=decision.cuts)
    return result, report, options


def _quantize(model: ir.Model, options: QuantizeOptions, context: StepContext) -> AppliedStep:
    result, report = quantize(
        model, context.samples, options, config=context.config, kept_inputs=list_input_names(model),
        progress=context.progress, deadline=context.deadline, drop_over_limit=context.drop_over_limit,
    )  # fmt: skip
    decision: QuantizeDecision = report.decision
    # where this run kept its work and what it could hold is nothing that was decided
    resolved = dataclasses.replace(
        options, target=decision.target, calibration=decision.calibration or options.calibration, statistics=(),
        activations=decision.scheme if decision.scheme in ACTIVATION_MODES else options.activations, max_memory=None,
        loss_share=None, block_layers=decision.block_layers, max_size=None, weight_formats=decision.weight_formats,
        calibration_samples=decision.calibration_samples, corrected_layers=decision.corrected_layers,
        fitted_weights=decision.fitted_weights,
        float_units=options.float_units if decision.float_units is None else decision.float_units,
        float_weights=decision.float_weights or options.float_weights, large_weights=decision.large_weights,
    )  # fmt: skip
    return result, report, resolved


def _recover(model: ir.Model, options: RecoverOptions, context: StepContext) -> AppliedStep:
    options = dataclasses.replace(options, seed=options.seed or context.seed)
    result, report = recover(
        model, context.original, context.require_samples("recover"), options, unseen=context.tune_samples,
        config=context.config, kept_inputs=list_input_names(model), progress=context.progress, deadline=context.deadline,
    )  # fmt: skip
    decision: RecoverDecision = report.decision
    last_step = decision.completed_steps if decision.completed_steps < decision.planned_steps else None
    # neither the time that was given nor the file that kept the work was decided here
    resolved = dataclasses.replace(
        options, seconds=None, epochs=None, checkpoint=None, steps=decision.planned_steps, last=last_step, lr=decision.lr
    )
    return result, report, resolved


#: Every step by name; a new one is a row here.
STEP_REGISTRY: dict[str, StepKind] = {
    "simplify": StepKind(SimplifyOptions, _simplify),
    "prune": StepKind(PruneOptions, _prune, lambda asked: asked.reads_clock),
    "quantize": StepKind(
        QuantizeOptions,
        _quantize,
        lambda asked: (
            asked.placement == "measured"
            and (
                asked.loss_share is not None
                or (asked.float_units is None and asked.block_layers is None and asked.weight_formats is None)
            )
        ),
    ),
    "recover": StepKind(RecoverOptions, _recover, lambda asked: asked.steps is None and asked.epochs is None),
}
