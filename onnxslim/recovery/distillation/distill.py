"""Recovery from end to end: cut, teach, judge, and keep what was given unless the result is better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from onnxslim.activations.run_context import RunContext
from onnxslim.core.errors import UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.data.samples import Samples
from onnxslim.data.split import hold_back
from onnxslim.model_io import model_file
from onnxslim.model_io.model_file import ModelLike
from onnxslim.recovery.distillation.planning import make_plan, set_step_budget
from onnxslim.recovery.distillation.sample_cache import SampleCache, class_labels
from onnxslim.recovery.distillation.teacher import StudentEvaluator, StudentScore, check_same_interface
from onnxslim.recovery.distillation.training import set_parameters, train
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState
from onnxslim.recovery.options import RecoverDecision, RecoverOptions

#: Fewer samples than this cannot both teach and judge; of unseen ones, so many at most judge.
_MIN_SAMPLES, _MAX_EVALUATION_SAMPLES = 8, 1024
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
    with report.timed(), _limit_to_one_thread():
        start = time.monotonic()
        input_model, teacher_model = model_file.load(model), model_file.load(teacher)
        check_same_interface(input_model, teacher_model)
        student = model_file.clone(input_model)
        LiftConstantsToInitializersPass()(student)
        training_set, held_out_set = _split_samples(context.require_samples("recover"), unseen, options, report)
        evaluator = StudentEvaluator(teacher_model, held_out_set, context.config)
        before = evaluator.score(input_model)
        plan, part = make_plan(student, teacher_model, context, training_set, held_out_set, options)
        report.add(part)
        plan = set_step_budget(plan, options, len(training_set), start, context.deadline)
        state, stop_reason = train(plan, context.progress)
        after = _write_better_weights(plan, state, evaluator, student)
        if stop_reason is not None:
            report.warnings.append(f"stopped at step {state.step} of {plan.steps}: {stop_reason}")
        _describe(report, plan, state, before, after)
        report.decision = RecoverDecision(plan.steps, state.step)
        if not after.is_better_than(before):
            report.skip("the whole model", "training did not bring it nearer to its teacher: returned as given")
            return input_model, report
        report.count("trained weights", len(plan.student.weights))
        return student, report


def _write_better_weights(
    plan: TrainingPlan, state: TrainingState, evaluator: StudentEvaluator, student: ir.Model
) -> StudentScore:
    """Write the last weights into ``student``, or the best on the way if all held-back samples say so; their score."""
    scores = []
    for weights in (state.average, state.best):
        set_parameters(plan, weights)
        plan.student.write_back(student)
        scores.append(evaluator.score(student))
    last, best = scores
    if best.is_better_than(last):
        return best
    set_parameters(plan, state.average)
    plan.student.write_back(student)
    return last


@contextmanager
def _limit_to_one_thread() -> Iterator[None]:
    """torch on one thread: parts of a batch run side by side, and the last bits of a sum depend on the threads it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split_samples(
    samples: Samples, unseen: Samples | None, options: RecoverOptions, report: StepReport
) -> tuple[SampleCache, SampleCache]:
    """What is taught and what judges."""
    if unseen is not None and len(unseen) >= _MIN_SAMPLES:
        indices = np.arange(unseen.round_to_runs(len(unseen) if unseen.sequences is not None else _MAX_EVALUATION_SAMPLES))
        training, held_out = samples, unseen.take(indices)
    elif len(samples) < _MIN_SAMPLES:
        raise UsageError(
            f"recover: {len(samples)} samples are too few to hold some back",
            hint=f"at least {_MIN_SAMPLES}; a few hundred are where it begins to pay",
        )
    else:
        training, held_out = hold_back(samples, options.held, options.seed)
    training_set, held_out_set = SampleCache(training, options.seed), SampleCache(held_out, options.seed)
    for cache in (training_set, held_out_set):
        cache.labels = class_labels(cache.labels, samples.source)
    report.warnings += training_set.warnings
    report.details["samples"] = {"taught": len(training_set), "held": len(held_out_set)}
    return training_set, held_out_set


def _describe(
    report: StepReport, plan: TrainingPlan, state: TrainingState, before: StudentScore, after: StudentScore
) -> None:
    report.details |= {
        "before": before.as_json(),
        "after": after.as_json(),
        "steps": plan.steps,
        "ran": state.step,
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
