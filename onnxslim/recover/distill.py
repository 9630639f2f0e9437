"""Recovery from end to end: cut, teach, judge, and keep what was given unless the result is better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.data.split import hold_back
from onnxslim.errors import UsageError
from onnxslim.io import ModelLike
from onnxslim.progress import Progress
from onnxslim.recover.options import RecoverOptions
from onnxslim.recover.plan import Plan, State
from onnxslim.recover.planning import budgeted, planned
from onnxslim.recover.pool import Pool, class_labels
from onnxslim.recover.reference import Judge, Score, check_same_interface
from onnxslim.recover.training import put, train
from onnxslim.runtime.session import SessionConfig

#: Fewer samples than this cannot both teach and judge; of unseen ones, so many at most judge.
_FEWEST, _JUDGED = 8, 1024
#: A block whose gradient is so many times the median block's, or so small a part of it, is named.
_FAR = 1e3


def distill(
    model: ModelLike,
    teacher: ModelLike,
    samples: Samples,
    unseen: Samples | None,
    options: RecoverOptions,
    config: SessionConfig,
    progress: Progress,
) -> tuple[ir.Model, Account]:
    """See :func:`onnxslim.recover.recover`."""
    account = Account("recover")
    with account.timed(), _one_thread():
        start = time.monotonic()
        given, original = io.load(model), io.load(teacher)
        check_same_interface(given, original)
        student = io.clone(given)
        LiftConstantsToInitializersPass()(student)
        taught, held = _split(samples, unseen, options, account)
        judge = Judge(original, held, config)
        before = judge.score(given)
        plan = planned(student, original, taught, held, options, config, account)
        plan = budgeted(plan, options, len(taught), start)
        state = train(plan, progress)
        after = _better(plan, state, judge, student)
        _report(account, plan, state, before, after)
        if not after.better_than(before):
            account.decline(
                "the whole model", "training did not bring it nearer to its teacher: returned as given"
            )
            return given, account
        account.count("trained weights", len(plan.student.weights))
        return student, account


def _better(plan: Plan, state: State, judge: Judge, student: ir.Model) -> Score:
    """Write the last weights into ``student``, or the best on the way if all held-back samples say so; their score."""
    scores = []
    for weights in (state.average, state.best):
        put(plan, weights)
        plan.student.write_back(student)
        scores.append(judge.score(student))
    last, best = scores
    if best.better_than(last):
        return best
    put(plan, state.average)
    plan.student.write_back(student)
    return last


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch on one thread: parts of a batch run side by side, and the last bits of a sum depend on the threads it has."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split(
    samples: Samples, unseen: Samples | None, options: RecoverOptions, account: Account
) -> tuple[Pool, Pool]:
    """What is taught and what judges."""
    if unseen is not None and len(unseen) >= _FEWEST:
        some = np.arange(len(unseen) if unseen.sequences is not None else min(len(unseen), _JUDGED))
        rest, kept = samples, unseen.take(some)
    elif len(samples) < _FEWEST:
        raise UsageError(
            f"recover: {len(samples)} samples are too few to hold some back",
            hint=f"at least {_FEWEST}; a few hundred are where it begins to pay",
        )
    else:
        rest, kept = hold_back(samples, options.held, options.seed)
    taught, held = Pool(rest, options.seed), Pool(kept, options.seed)
    for pool in (taught, held):
        pool.labels = class_labels(pool.labels, samples.source)
    account.warnings += taught.warnings
    account.details["samples"] = {"taught": len(taught), "held": len(held)}
    return taught, held


def _report(account: Account, plan: Plan, state: State, before: Score, after: Score) -> None:
    account.details |= {
        "before": before.as_json(),
        "after": after.as_json(),
        "steps": plan.steps,
        "ran": state.step,
        "rollbacks": state.rollbacks,
        "curve": state.curve,
        "gradient_norms": {block or "(last)": norm for block, norm in state.usual.items()},
    }
    if state.step < plan.steps:
        reason = (
            "the time was up" if plan.deadline and time.monotonic() > plan.deadline else "nothing got better"
        )
        account.warnings.append(f"stopped at step {state.step} of {plan.steps}: {reason}")
    usual = [norm for norm in state.usual.values() if norm > 0]
    middle = float(np.median(usual)) if usual else 0.0
    for block, norm in state.usual.items():
        name = f"the block that ends at {block}" if block else "the last block"
        if norm < middle / _FAR:
            account.warnings.append(
                f"{name} hardly learns: gradient {norm:.1e}, the median block's {middle:.1e}"
            )
        if norm > middle * _FAR > 0:
            account.warnings.append(
                f"{name} is unstable: gradient {norm:.1e}, the median block's {middle:.1e}"
            )
