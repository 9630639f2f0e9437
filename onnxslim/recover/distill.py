"""Recovery from end to end: cut, teach, judge, and keep what was given unless the result is better."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.data.split import hold_back
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.io import ModelLike
from onnxslim.progress import Progress
from onnxslim.recover import blocks, checkpoint
from onnxslim.recover.augment import is_image
from onnxslim.recover.executor import Executor
from onnxslim.recover.lessons import Lesson, Lessons
from onnxslim.recover.options import RecoverOptions
from onnxslim.recover.partition import partition
from onnxslim.recover.plan import Plan, State
from onnxslim.recover.pool import Pool, class_labels
from onnxslim.recover.reference import Judge, Score, Source, check_same_interface
from onnxslim.recover.training import EVALUATIONS, held_loss, probe, train
from onnxslim.runtime.session import SessionConfig

#: Wall time when nobody says, in seconds.
_SECONDS = 900.0
#: Blocks are joined until there are no more than this: each one's last tensor is computed twice and compared.
_BLOCKS = 16
#: Held-back samples read at each of the evaluations on the way; all of them judge the result.
_WATCHED = 256
#: Peak rates, as a share of a weight's own size: a quantised weight is already next to where it belongs.
_RATE, _QUANTISED_RATE = 3e-3, 1e-3
#: Fewer samples than this cannot both teach and judge.
_FEWEST = 8


def distill(
    model: ModelLike,
    teacher: ModelLike,
    samples: Samples,
    options: RecoverOptions,
    config: SessionConfig,
    progress: Progress,
) -> tuple[ir.Model, Account]:
    """See :func:`onnxslim.recover.recover`."""
    account = Account("recover")
    with account.timed(), _threads(config.threads):
        start = time.monotonic()
        given, original = io.load(model), io.load(teacher)
        check_same_interface(given, original)
        student = io.clone(given)
        LiftConstantsToInitializersPass()(student)
        taught, held = _split(samples, options, account)
        judge = Judge(original, held, config)
        before = judge.score(given)
        plan = _plan(student, original, taught, held, options, config, account)
        plan = _budgeted(plan, options, len(taught), start)
        state = train(plan, progress)
        plan.student.write_back(student)
        after = judge.score(student)
        _report(account, plan, state, before, after)
        if not after.better_than(before):
            account.decline(
                "the whole model", "training did not bring it nearer to its teacher: returned as given"
            )
            return given, account
        account.count("trained weights", len(plan.student.weights))
        return student, account


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch on as many threads as the runtime: what the last bits of a sum are depends on it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _split(samples: Samples, options: RecoverOptions, account: Account) -> tuple[Pool, Pool]:
    if len(samples) < _FEWEST:
        raise UsageError(
            f"recover: {len(samples)} samples are too few to hold some back",
            hint=f"at least {_FEWEST}; a few hundred are where it begins to pay",
        )
    rest, kept = hold_back(samples, options.held, options.seed)
    taught, held = Pool(rest, options.seed), Pool(kept, options.seed)
    for pool in (taught, held):
        pool.labels = class_labels(pool.labels, samples.source)
    account.warnings += taught.warnings
    account.details["samples"] = {"taught": len(taught), "held": len(held)}
    return taught, held


def _plan(
    student: ir.Model,
    original: ir.Model,
    taught: Pool,
    held: Pool,
    options: RecoverOptions,
    config: SessionConfig,
    account: Account,
) -> Plan:
    """Everything but the number of steps, which is 1."""
    parts = partition(student)
    for node, reason in parts.frozen.items():
        account.decline(node, f"{reason} on torch: frozen, with what lies on its side of the graph")
    executor = Executor(parts.body)
    if not executor.weights:
        raise UnsupportedError("recover: the model has no weights that can be trained")
    shapes.infer(original)
    outputs = executor.float_outputs
    _check_taught(outputs, original)
    ends = blocks.matched(executor.model, original)
    divided = blocks.divide(executor.model.graph, ends, executor.weights, _BLOCKS)
    wanted = list(dict.fromkeys([*outputs, *(name for name in divided if name)]))
    inputs = executor.inputs
    own = {value.name for value in shapes.inputs(student)}
    head = (
        None
        if parts.head is None
        else Source(parts.head, [name for name in inputs if name not in own], config)
    )
    changes = _changes(options, taught)
    account.details["augment"] = list(changes)
    watched = Lessons(held, Source(original, outputs, config), head, inputs, (), options.seed)
    quantised = any(weight.scale is not None for weight in executor.weights.values())
    return Plan(
        student=executor,
        lessons=Lessons(taught, Source(original, wanted, config), head, inputs, changes, options.seed),
        held=_first(watched, _WATCHED),
        outputs=outputs,
        blocks=divided,
        steps=1,
        blockwise=0,
        warmup=0,
        lr=options.lr or (_QUANTISED_RATE if quantised else _RATE),
        weight_decay=options.weight_decay,
        batch_size=min(options.batch_size, len(taught)),
        label_weight=options.label_weight,
        checkpoint=options.checkpoint,
    )


def _check_taught(outputs: list[str], original: ir.Model) -> None:
    known = {output.name for node in original.graph for output in node.outputs}
    missing = [name for name in outputs if name not in known]
    if missing or not outputs:
        raise UnsupportedError(
            f"recover: the teacher has no tensor {missing[0]} to learn from"
            if missing
            else "recover: no float output",
            hint="what torch cannot run lies behind it, so it would have to be learnt instead of the output",
        )


def _changes(options: RecoverOptions, taught: Pool) -> tuple[str, ...]:
    arrays = (taught.stacked or taught.runs[0]).values()
    images = any(array.dtype.kind == "f" and is_image(array.shape) for array in arrays)
    if options.augment is None:
        return () if not images else ("flip", "crop") if taught.labels is None else ("crop",)
    if options.augment and not images:
        raise UsageError(f"recover: augment {','.join(options.augment)}, but no input is an image")
    return options.augment


def _first(lessons: Lessons, samples: int) -> list[Lesson]:
    """The first lessons, about so many samples of them."""
    found: list[Lesson] = []
    count = 0
    for lesson in lessons.every(64):
        found.append(lesson)
        count += max((len(t) for t in lesson.feeds.values() if t.dim()), default=1)
        if count >= samples:
            break
    return found


def _budgeted(plan: Plan, options: RecoverOptions, samples: int, start: float) -> Plan:
    """The plan with its number of steps: given, from epochs, or from the time that the first steps take."""
    deadline = None
    if options.steps is not None:
        steps = options.steps
    elif options.epochs is not None:
        steps = max(1, round(options.epochs * samples / plan.batch_size))
    else:
        deadline = start + (options.seconds or _SECONDS)
        steps = checkpoint.planned_steps(options.checkpoint) or _affordable(plan, deadline)
    warmup, blockwise = round(options.warmup * steps), round(options.blockwise * steps)
    return replace(
        plan,
        steps=steps,
        warmup=warmup,
        blockwise=blockwise if len(plan.blocks) > 1 else 0,
        deadline=deadline,
    )


def _affordable(plan: Plan, deadline: float) -> int:
    """How many updates fit before the deadline, evaluations included and a tenth kept in reserve."""
    started = time.monotonic()
    held_loss(plan)
    reading = time.monotonic() - started
    update = float(np.median([probe(plan) for _ in range(3)]))
    left = 0.9 * (deadline - time.monotonic()) - (EVALUATIONS + 2) * reading
    return max(1, int(left / update))


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
        if norm < 1e-4 * middle:
            account.warnings.append(
                f"{name} hardly learns: gradient {norm:.1e}, the median block's {middle:.1e}"
            )
        if state.clipped.get(block, 0) > 0.5 * max(1, state.step):
            account.warnings.append(
                f"{name} is unstable: its gradient was clipped in {state.clipped[block]} of {state.step} steps"
            )
