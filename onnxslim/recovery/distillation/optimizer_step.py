"""One update: the gradients of its samples from all cores, clipped block by block, and a step of Adam."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from onnxslim.recovery.distillation.batches import DistillationBatch, MicroBatch
from onnxslim.recovery.distillation.losses import output_loss, relative_error
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState
from onnxslim.runtime.parallel import count_workers
from onnxslim.runtime.session import SessionConfig

#: Parts of an update's samples that run side by side, each on a core of its own, and into how many they are cut at least.
MAX_THREADS = 4
#: A block's gradient is clipped at so many times its usual norm.
_CLIP_RATIO = 3.0
#: What the intermediate tensors weigh, together, while all blocks learn at once.
_FEATURE_LOSS_WEIGHT = 0.5


def open_thread_pool() -> ThreadPoolExecutor:
    """One thread a core, so many at most; torch itself runs on one in each."""
    return ThreadPoolExecutor(min(count_workers(SessionConfig()), MAX_THREADS))


def make_optimizer(plan: TrainingPlan) -> torch.optim.Optimizer:
    """One group a weight: its rate is relative to its own size, so that one number suits every layer of every model."""
    groups = []
    for parameter in plan.student.parameters.values():
        rms = float(parameter.detach().square().mean().sqrt())
        decay = plan.weight_decay if parameter.dim() > 1 else 0.0
        groups.append({"params": [parameter], "lr": plan.lr * max(rms, 1e-3), "weight_decay": decay})
    optimizer = torch.optim.AdamW(groups, fused=True)
    for group in optimizer.param_groups:
        group["peak"] = group["lr"]
    return optimizer


def compute_rate_factor(step: int, steps: int, warmup: int, begun: int = 0) -> float:
    """The rate as a share of its peak: rising in a line since the optimizer began, then along a cosine to zero."""
    rising = min(1.0, (step - begun + 1) / warmup) if warmup else 1.0
    return rising * 0.5 * (1 + math.cos(math.pi * max(0, step - warmup) / max(1, steps - warmup)))


def batch_loss(plan: TrainingPlan, batch: DistillationBatch, blockwise: bool) -> Tensor:
    """Block by block, each block answers for its own last tensor; together, for the outputs first of all."""
    block_outputs = plan.block_outputs
    tensors = plan.student.run(batch.feeds, [*plan.outputs, *block_outputs], detached=block_outputs if blockwise else ())
    loss = output_loss(
        tensors, batch.targets, plan.outputs, plan.class_outputs, labels=batch.labels, label_weight=plan.label_weight
    )
    weight = 1.0 if blockwise else _FEATURE_LOSS_WEIGHT / max(1, len(block_outputs))
    for name in block_outputs:
        loss = loss + weight * relative_error(tensors[name], batch.targets[name])
    return loss


def time_update(plan: TrainingPlan, step: int) -> float:
    """Seconds that update ``step`` takes, without making it."""
    with open_thread_pool() as threads:
        started = time.perf_counter()
        _accumulate_gradients(plan, step, blockwise=False, threads=threads)
    for parameter in plan.student.parameters.values():
        parameter.grad = None
    return time.perf_counter() - started


def _accumulate_gradients(plan: TrainingPlan, step: int, *, blockwise: bool, threads: ThreadPoolExecutor) -> float:
    """Put the gradients of update ``step`` into the parameters; returns its loss.

    The samples are cut into the same parts on every machine, and what they say is added up in their order, so that the
    number of cores decides how long it takes and nothing else.
    """
    parameters = list(plan.student.parameters.values())

    def compute_gradients(micro_batch: MicroBatch) -> tuple[float, Sequence[Tensor | None]]:
        loss = batch_loss(plan, plan.loader.add_targets(micro_batch), blockwise) * micro_batch.share
        if not loss.requires_grad or not math.isfinite(loss.item()):
            return loss.item(), [None] * len(parameters)
        return loss.item(), torch.autograd.grad(loss, parameters, allow_unused=True)

    total = 0.0
    micro_batches = plan.loader.micro_batches_at(step, plan.batch_size, plan.micro_batches)
    for loss, gradients in threads.map(compute_gradients, micro_batches):
        total += loss
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                # laid out like the parameter: Adam's fused step pairs numbers as they lie in memory, whatever the strides
                laid_out = torch.empty_like(parameter.detach()).copy_(gradient)
                parameter.grad = laid_out if parameter.grad is None else parameter.grad.add_(laid_out)
    return total


def update(plan: TrainingPlan, optimizer: torch.optim.Optimizer, state: TrainingState, threads: ThreadPoolExecutor) -> float:
    """Make update ``state.step``; its loss, NaN where that or a gradient is not finite and nothing was changed."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * state.rate * compute_rate_factor(state.step, plan.steps, plan.warmup, state.begun)
    optimizer.zero_grad()
    loss = _accumulate_gradients(plan, state.step, blockwise=state.step < state.count_blockwise(plan), threads=threads)
    if not math.isfinite(loss) or not _clip_gradients(plan, state):
        return math.nan
    optimizer.step()
    for weight in plan.student.weights.values():
        weight.restore_zeros()
    return loss


def _clip_gradients(plan: TrainingPlan, state: TrainingState) -> bool:
    """Hold every block's gradient to a few times its usual norm; False when one is not finite."""
    parameters = plan.student.parameters
    for block, names in plan.blocks.items():
        gradients = [g for name in names if (g := parameters[name].grad) is not None]
        norm = math.sqrt(sum(float(torch.linalg.vector_norm(gradient)) ** 2 for gradient in gradients))
        if not math.isfinite(norm):
            return False
        usual_norm = state.usual.setdefault(block, norm)
        if norm > _CLIP_RATIO * usual_norm > 0:
            for gradient in gradients:
                gradient.mul_(_CLIP_RATIO * usual_norm / norm)
        state.norms[block] = norm
        state.usual[block] = 0.95 * usual_norm + 0.05 * min(norm, _CLIP_RATIO * usual_norm if usual_norm > 0 else norm)
    return True
