"""One update: the gradients of its samples from all cores, clipped block by block, and a step of Adam."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from onnxslim.recover.lessons import Lesson, Part
from onnxslim.recover.losses import output_loss, relative_error
from onnxslim.recover.plan import Plan, State
from onnxslim.runtime.parallel import workers
from onnxslim.runtime.session import SessionConfig

#: Parts of an update's samples, each on a core of its own.
_PARTS = 4
#: A block's gradient is clipped at so many times its usual norm.
_CLIP = 3.0
#: What the intermediate tensors weigh, together, while all blocks learn at once.
_FEATURES = 0.5


def open_crew() -> ThreadPoolExecutor:
    """One thread a core; torch itself runs on one in each."""
    return ThreadPoolExecutor(workers(SessionConfig()))


def optimizer_of(plan: Plan) -> torch.optim.Optimizer:
    """One group a weight: its rate is relative to its own size, so that one number suits every layer of every model."""
    groups = []
    for parameter in plan.student.parameters.values():
        size = float(parameter.detach().square().mean().sqrt())
        decay = plan.weight_decay if parameter.dim() > 1 else 0.0
        groups.append({"params": [parameter], "lr": plan.lr * max(size, 1e-3), "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def schedule(step: int, steps: int, warmup: int) -> float:
    """The rate as a share of its peak: rising in a line, then along a cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def lesson_loss(plan: Plan, lesson: Lesson, blockwise: bool) -> Tensor:
    """Block by block, each block answers for its own last tensor; together, for the outputs first of all."""
    ends = plan.ends
    found = plan.student.run(lesson.feeds, [*plan.outputs, *ends], cut=ends if blockwise else ())
    loss = output_loss(found, lesson.targets, plan.outputs, lesson.labels, plan.label_weight)
    weight = 1.0 if blockwise else _FEATURES / max(1, len(ends))
    for name in ends:
        loss = loss + weight * relative_error(found[name], lesson.targets[name])
    return loss


def probe(plan: Plan) -> float:
    """Seconds that one update takes, without making it."""
    with open_crew() as crew:
        started = time.perf_counter()
        _learn(plan, 0, blockwise=False, crew=crew)
    for parameter in plan.student.parameters.values():
        parameter.grad = None
    return time.perf_counter() - started


def _learn(plan: Plan, step: int, *, blockwise: bool, crew: ThreadPoolExecutor) -> float:
    """Put the gradients of update ``step`` into the parameters; returns its loss.

    The samples are cut into the same parts on every machine, and what they say is added up in their order, so that the
    number of cores decides how long it takes and nothing else.
    """
    parameters = list(plan.student.parameters.values())

    def one(part: Part) -> tuple[float, Sequence[Tensor | None]]:
        loss = lesson_loss(plan, plan.lessons.lesson(part), blockwise) * part.share
        if not loss.requires_grad or not math.isfinite(loss.item()):
            return loss.item(), [None] * len(parameters)
        return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

    total = 0.0
    for loss, gradients in crew.map(one, plan.lessons.parts(step, plan.batch_size, _PARTS)):
        total += loss
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
    return total


def update(plan: Plan, optimizer: torch.optim.Optimizer, state: State, crew: ThreadPoolExecutor) -> float:
    """Make update ``state.step``; its loss, NaN where that or a gradient is not finite and nothing was changed."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * state.rate * schedule(state.step, plan.steps, plan.warmup)
    optimizer.zero_grad()
    loss = _learn(plan, state.step, blockwise=state.step < plan.blockwise, crew=crew)
    if not math.isfinite(loss):
        return math.nan
    if not _clip(plan, state):
        return math.nan
    optimizer.step()
    for weight in plan.student.weights.values():
        weight.hold_zeros()
    return loss


def _clip(plan: Plan, state: State) -> bool:
    """Hold every block's gradient to a few times its usual norm; False when one is not finite."""
    parameters = plan.student.parameters
    for block, names in plan.blocks.items():
        gradients = [g for name in names if (g := parameters[name].grad) is not None]
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        if not math.isfinite(norm):
            return False
        usual = state.usual.setdefault(block, norm)
        if norm > _CLIP * usual > 0:
            for gradient in gradients:
                gradient.mul_(_CLIP * usual / norm)
        state.norms[block] = norm
        state.usual[block] = 0.95 * usual + 0.05 * min(norm, _CLIP * usual if usual > 0 else norm)
    return True
