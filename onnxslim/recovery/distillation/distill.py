"""Recovery from end to end: cut, teach, judge, and keep what was given unless the result is better."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from onnxslim.activations.padding import trim_padding
from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.core.progress import Progress
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.data.split import hold_back
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.model_io.short_names import adopt_short_names
from onnxslim.recovery.distillation import checkpoint
from onnxslim.recovery.distillation.augmentation import augment
from onnxslim.recovery.distillation.forecast import choose_rate, forecast_training
from onnxslim.recovery.distillation.planning import choose_augmentations, make_plan, set_step_budget
from onnxslim.recovery.distillation.sample_cache import SampleCache, class_labels
from onnxslim.recovery.distillation.student_score import StudentScore
from onnxslim.recovery.distillation.teacher import StudentEvaluator, check_same_interface, find_class_outputs
from onnxslim.recovery.distillation.torch_settings import configure_torch
from onnxslim.recovery.distillation.training import copy_tensors, set_parameters, train
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState
from onnxslim.recovery.options import RecoverDecision, RecoverOptions

logger = logging.getLogger(__name__)

#: Fewer samples than this cannot both teach and judge; of unseen ones, so many at most judge.
_MIN_SAMPLES, _MAX_EVALUATION_SAMPLES = 8, 1024
#: The share of the samples that is held back to judge by; of few ones so many at least, but no more than a third of all,
#: and of many no more than tell a tenth of their loss's standard deviation, for all others teach.
_HELD_SHARE, _MIN_HELD, _MAX_HELD_SHARE, _MAX_HELD = 0.15, 64, 1 / 3, 512
#: Views of each image that judges, and rows of them all together, at most.
_MAX_VIEWS, _MAX_ROWS = 8, 256
#: How far from the weights that were given towards those that were learnt: less of what few samples taught may be more.
_BLENDS = (0.5, 0.25)
#: A block whose gradient is so many times the median block's, or so small a part of it, is named.
_OUTLIER_NORM_RATIO = 1e3


def distill(
    model: ModelLike,
    teacher: ModelLike,
    context: RunContext,
    options: RecoverOptions,
    unseen: Samples | None,
) -> tuple[ir.Model, StepReport]:
    """See :func:`onnxslim.recovery.step.recover`."""
    report = StepReport("recover")
    with report.timed(), configure_torch():
        start = time.monotonic()
        input_model, teacher_model = model_file.load(model), model_file.load(teacher)
        check_same_interface(input_model, teacher_model)
        adopt_short_names(teacher_model, input_model)
        student = model_file.clone(input_model)
        LiftConstantsToInitializersPass()(student)
        samples = trim_padding(teacher_model, context.require_samples("recover"), context.config)
        unseen = None if unseen is None else trim_padding(teacher_model, unseen, context.config)
        training_set, held_out_set = _split_samples(samples, unseen, options, report)
        class_outputs = find_class_outputs(teacher_model, samples, context.config)
        evaluator = StudentEvaluator(teacher_model, held_out_set, context.config, class_outputs)
        before = evaluator.score(input_model)
        plan, part = make_plan(student, teacher_model, context, training_set, held_out_set, options)
        plan = replace(plan, class_outputs=[name for name in plan.outputs if name in evaluator.class_outputs])
        report.add(part)
        plan = set_step_budget(plan, options, len(training_set), start, context.deadline)
        plan = _settle_rate(plan, options, context.progress, report)
        given_weights = copy_tensors(plan.student.parameters)
        state, stop_reason = train(plan, context.progress)
        after, looks = _write_best_weights(plan, state, given_weights, evaluator, student, report)
        if stop_reason is not None:
            report.warnings.append(f"stopped at step {state.step} of {plan.steps}: {stop_reason}")
        _describe(report, plan, state, before, after)
        report.decision = RecoverDecision(plan.steps, state.step, plan.lr)
        if not after.is_proven_better_than(before, looks):
            report.skip("the whole model", _explain_return(before, after, held_out_set.sample_count))
            return input_model, report
        report.count("trained weights", len(plan.student.weights))
        return student, report


def _settle_rate(plan: TrainingPlan, options: RecoverOptions, progress: Progress, report: StepReport) -> TrainingPlan:
    """The plan with the rate to train at, once what it is expected to bring is told."""
    begun = checkpoint.read_plan(plan.checkpoint)
    if begun is not None:  # told when that training began
        return plan if options.lr is not None else replace(plan, lr=begun[1])
    plan, forecast = (plan, forecast_training(plan)) if options.lr is not None else choose_rate(plan)
    report.details["forecast"] = None if forecast is None else forecast.as_json()
    said = f"{plan.steps} updates" if forecast is None else str(forecast)
    logger.info("%s", said)
    progress(f"recover: {said}", 0, plan.steps)
    if forecast is not None and not forecast.has_gain:
        report.warnings.append(f"recover: {said}; more samples may help")
    return plan


@dataclass(frozen=True)
class _Candidate:
    """Weights that may be written: of the way from those given to ``learnt`` ones a share, ``blend``."""

    learnt: dict[str, torch.Tensor]
    blend: float
    score: StudentScore


def _write_best_weights(
    plan: TrainingPlan,
    state: TrainingState,
    given_weights: dict[str, torch.Tensor],
    evaluator: StudentEvaluator,
    student: ir.Model,
    report: StepReport,
) -> tuple[StudentScore, int]:
    """Write into ``student`` what the held-back samples like best: the last weights, the best on the way, or between
    the better ones and those that were given (WiSE-FT, Wortsman et al. 2021, arXiv:2109.01903).

    Returns:
        Its score, and how many were looked at; what lies between two counts as they do, for it gains on the same samples.
    """

    def write(learnt: dict[str, torch.Tensor], blend: float) -> None:
        set_parameters(plan, {name: torch.lerp(given_weights[name], tensor, blend) for name, tensor in learnt.items()})
        plan.student.write_back(student)

    def make_candidate(learnt: dict[str, torch.Tensor], blend: float) -> _Candidate:
        write(learnt, blend)
        return _Candidate(learnt, blend, evaluator.score(student))

    candidates = [make_candidate(state.average, 1.0)]
    if any(not torch.equal(tensor, state.average[name]) for name, tensor in state.best.items()):
        candidates.append(make_candidate(state.best, 1.0))
    best = _choose(candidates)
    best = _choose([best, *(make_candidate(best.learnt, blend) for blend in _BLENDS)])
    write(best.learnt, best.blend)
    report.details["learnt_share"] = best.blend
    return best.score, len(candidates)


def _choose(candidates: Sequence[_Candidate]) -> _Candidate:
    """The best of them; of those that are alike the first."""
    best = candidates[0]
    for candidate in candidates[1:]:
        best = candidate if candidate.score.is_better_than(best.score) else best
    return best


def _make_unseen(held_out: SampleCache, augmentations: Sequence[str], options: RecoverOptions) -> None:
    """Change what judges as what is taught is changed: the teacher answers for it as well, and no repair has seen it.

    What pruning repaired on samples errs many times less on these than on others, so that any change looks like a loss.
    Several views of each tell more of it than one, and less than as many images would.
    """
    rng = np.random.default_rng((options.seed, 4))
    if augmentations:
        held_out.change_all(lambda feeds: augment(feeds, augmentations, rng), min(_MAX_VIEWS, _MAX_ROWS // len(held_out)))


def _explain_return(before: StudentScore, after: StudentScore, count: int) -> str:
    """Why the model that was given comes back."""
    if after.is_better_than(before):
        return f"{count} samples held back do not prove that training brought it nearer to its teacher: returned as given"
    return "training did not bring it nearer to its teacher: returned as given"


def _split_samples(
    samples: Samples, unseen: Samples | None, options: RecoverOptions, report: StepReport
) -> tuple[SampleCache, SampleCache]:
    """What is taught and what judges."""
    is_unseen = unseen is not None and len(unseen) >= _MIN_SAMPLES
    if unseen is not None and is_unseen:
        indices = np.arange(unseen.round_to_runs(len(unseen) if unseen.sequences is not None else _MAX_EVALUATION_SAMPLES))
        training, held_out = samples, unseen.take(indices)
    elif len(samples) < _MIN_SAMPLES:
        raise UsageError(
            f"recover: {len(samples)} samples are too few to hold some back",
            hint=f"at least {_MIN_SAMPLES}; a few hundred are where it begins to pay",
        )
    else:
        count = min(max(_HELD_SHARE * len(samples), _MIN_HELD), _MAX_HELD_SHARE * len(samples), _MAX_HELD)
        share = options.held or count / len(samples)
        training, held_out = hold_back(samples, share, options.seed)
    training_set, held_out_set = SampleCache(training, options.seed), SampleCache(held_out, options.seed)
    for cache in (training_set, held_out_set):
        try:
            cache.labels = class_labels(cache.labels, samples.source)
        except InvalidDataError as error:  # targets of a regression, masks, texts
            cache.labels = None
            if cache is training_set:
                report.warnings.append(f"{error.message}: the original alone is learned from")
    if not is_unseen:
        _make_unseen(
            held_out_set, [name for name in choose_augmentations(options, training_set) if name != "mixup"], options
        )
    report.warnings += training_set.warnings
    report.details["samples"] = {"taught": len(training_set), "held": held_out_set.sample_count, "views": held_out_set.views}
    return training_set, held_out_set


def _describe(
    report: StepReport, plan: TrainingPlan, state: TrainingState, before: StudentScore, after: StudentScore
) -> None:
    report.details |= {
        "before": before.as_json(),
        "after": after.as_json(),
        "lr": plan.lr,
        "steps": plan.steps,
        "ran": state.step,
        "blockwise": min(state.count_blockwise(plan), state.step),
        "slowdowns": state.slowdowns,
        "rollbacks": state.rollbacks,
        "curve": state.curve,
        "gradient_norms": {block or "(last)": norm for block, norm in state.usual.items()},
    }
    usual_norms = [norm for norm in state.usual.values() if norm > 0]
    median_norm = float(np.median(usual_norms)) if usual_norms else 0.0
    for block, norm in state.usual.items():
        name = f"the block that ends at {block}" if block else "the last block"
        if norm < median_norm / _OUTLIER_NORM_RATIO:
            report.warnings.append(f"{name} hardly learns: gradient {norm:.1e}, the median block's {median_norm:.1e}")
        if norm > median_norm * _OUTLIER_NORM_RATIO > 0:
            report.warnings.append(f"{name} is unstable: gradient {norm:.1e}, the median block's {median_norm:.1e}")
