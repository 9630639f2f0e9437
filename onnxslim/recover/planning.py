"""From two models and samples to a plan: what is trained, between which tensors, on what, for how many steps."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.account import Account
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.recover import blocks, checkpoint
from onnxslim.recover.augment import is_image
from onnxslim.recover.executor import Executor
from onnxslim.recover.gains import by_channel, gain
from onnxslim.recover.lessons import Lesson, Lessons
from onnxslim.recover.losses import relative_error
from onnxslim.recover.options import RecoverOptions
from onnxslim.recover.partition import partition
from onnxslim.recover.plan import Plan
from onnxslim.recover.pool import Pool
from onnxslim.recover.reference import Source
from onnxslim.recover.training import EVALUATIONS, read_held
from onnxslim.recover.updates import probe
from onnxslim.runtime.session import SessionConfig

#: Wall time when nobody says, in seconds.
_SECONDS = 900.0
#: Blocks are joined until there are no more than this: each one's last tensor is computed twice and compared.
_BLOCKS = 16
#: Held-back samples read at each of the evaluations on the way; all of them judge the result.
_WATCHED = 256
#: Batches of 16 on which the student's tensors are compared with the teacher's before the first step.
_COMPARED = 4
#: Peak rates, as a share of a weight's own size: a quantised weight is already next to where it belongs.
_RATE, _QUANTISED_RATE = 3e-3, 3e-4
#: Share of the steps that blocks learn on their own, unless the model is quantised.
_BLOCKWISE = 0.3


def planned(
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
    lessons = Lessons(taught, Source(original, wanted, config), head, inputs, changes, options.seed)
    far = _strangers(executor, lessons, [name for name in divided if name and name not in outputs], account)
    divided = blocks.divide(executor.model.graph, set(divided) - {*far}, executor.weights, _BLOCKS)
    return Plan(
        student=executor,
        lessons=lessons,
        held=_first(watched, _WATCHED),
        outputs=outputs,
        blocks=divided,
        steps=1,
        blockwise=0,
        warmup=0,
        lr=options.lr or (_QUANTISED_RATE if _quantised(executor) else _RATE),
        weight_decay=options.weight_decay,
        batch_size=min(options.batch_size, len(taught)),
        label_weight=options.label_weight,
        checkpoint=options.checkpoint,
    )


def _strangers(student: Executor, lessons: Lessons, names: list[str], account: Account) -> list[str]:
    """Compare tensors of one name before the first step: set the lessons' gains, return those too far from the teacher's.

    A tensor that is further from the teacher's than zero would be is no twin of it.
    """
    seen: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {name: [] for name in names}
    with torch.no_grad():
        for lesson in (lesson for step in range(_COMPARED) for lesson in lessons.at(step, 16)):
            tensors = student.run(lesson.feeds, names)
            for name in names:
                seen[name].append((by_channel(tensors[name]), by_channel(lesson.targets[name])))
    far = []
    for name, pairs in seen.items():
        if len({len(mine) for mine, _ in pairs}) > 1:
            continue  # an axis that varies from sample to sample is no axis of channels
        mine, theirs = (torch.cat(parts, 1) for parts in zip(*pairs, strict=True))
        found = gain(mine, theirs)
        if found is not None:
            lessons.gains[name] = found
        elif float(relative_error(mine, theirs)) > 1:
            far.append(name)
    account.details["rescaled"] = list(lessons.gains)
    return far


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


def budgeted(plan: Plan, options: RecoverOptions, samples: int, start: float) -> Plan:
    """The plan with its number of steps: given, from epochs, or from the time that the first steps take."""
    deadline = None
    if options.steps is not None:
        steps = options.steps
    elif options.epochs is not None:
        steps = max(1, round(options.epochs * samples / plan.batch_size))
    else:
        deadline = start + (options.seconds or _SECONDS)
        steps = checkpoint.planned_steps(options.checkpoint) or _affordable(plan, deadline)
    share = options.blockwise
    if share is None:
        share = 0.0 if _quantised(plan.student) else _BLOCKWISE
    warmup, blockwise = round(options.warmup * steps), round(share * steps)
    return replace(
        plan,
        steps=steps,
        warmup=warmup,
        blockwise=blockwise if len(plan.blocks) > 1 else 0,
        deadline=deadline,
        last=options.last,
    )


def _quantised(student: Executor) -> bool:
    return any(weight.scale is not None for weight in student.weights.values())


def _affordable(plan: Plan, deadline: float) -> int:
    """How many updates fit before the deadline, evaluations included and a tenth kept in reserve."""
    started = time.monotonic()
    read_held(plan)
    reading = time.monotonic() - started
    update = float(np.median([probe(plan) for _ in range(3)]))
    left = 0.9 * (deadline - time.monotonic()) - (EVALUATIONS + 2) * reading
    return max(1, int(left / update))
