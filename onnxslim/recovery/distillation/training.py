"""The loop: updates, judged on held-back samples, rolled back on NaN."""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from onnxslim.core.errors import GateError
from onnxslim.core.memory_budget import scale_bytes
from onnxslim.core.progress import Progress
from onnxslim.recovery.distillation import checkpoint
from onnxslim.recovery.distillation.batches import DistillationBatch
from onnxslim.recovery.distillation.losses import distance
from onnxslim.recovery.distillation.optimizer_step import make_optimizer, open_thread_pool, update
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState
from onnxslim.runtime.memory import GrowthLimit

logger = logging.getLogger(__name__)

#: How often the held-back loss is read over a whole training.
EVALUATION_COUNT = 20
#: So many readings worse than the best by so much end the training early: a few hundred samples tell no less apart, and the
#: best weights are mostly those at the end of the schedule, where the rate has gone to nothing.
_PATIENCE, _WORSE_RATIO, _NO_PROGRESS = 12, 1.25, "nothing got better"
#: So does a training of which so much is over, counted from where all blocks learn together, while neither its weights nor
#: those halfway to them were ever better than what was given.
_FUTILE_SHARE = 0.5
#: The same of one that was cut at :attr:`TrainingPlan.last`.
_CUT_SHORT = "no more steps were asked for"
#: The rate after a roll-back, as a share of the one before; the third roll-back from what is not finite is the last.
_ROLLBACK_RATE_FACTOR, _MAX_ROLLBACKS = 0.3, 3
#: How often training starts again from its best weights at a lower rate, because it went so far above their loss.
_MAX_SLOWDOWNS = 3
#: What updates free and the C library keeps for each thread: samples of several lengths leave blocks of many sizes.
_MAX_FREED_BYTES = 500_000_000


class HeldOutMetrics(NamedTuple):
    """What the held-back lessons say.

    Attributes:
        loss: The distance to the teacher's outputs (:func:`~onnxslim.recovery.distillation.losses.distance`), labels aside.
        agreement: Share of samples whose best class is the teacher's; None where no output holds class scores.
    """

    loss: float
    agreement: float | None

    def as_json(self) -> dict[str, float]:
        """An entry of the curve."""
        return {"held": self.loss} if self.agreement is None else {"held": self.loss, "agreement": self.agreement}

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f", agreement {self.agreement:.1%}"
        return f"held-back loss {self.loss:.3g}{agreement}"


def evaluate_held_out(plan: TrainingPlan) -> HeldOutMetrics:
    """Run the student on the held-back lessons."""
    with open_thread_pool() as threads:
        results = list(threads.map(lambda batch: _evaluate_batch(plan, batch), plan.held_out))
    matches = [match for _, agreement in results for match in agreement]
    share = float(torch.cat(matches).float().mean()) if matches else None
    return HeldOutMetrics(sum(loss for loss, _ in results) / len(plan.held_out), share)


def _evaluate_batch(plan: TrainingPlan, batch: DistillationBatch) -> tuple[float, list[Tensor]]:
    """The loss of one lesson, and for each output that scores classes which samples agree with the teacher."""
    with torch.no_grad():
        outputs = plan.student.run(batch.feeds, plan.outputs)
        matches = [outputs[name].argmax(1) == batch.targets[name].argmax(1) for name in plan.class_outputs]
        return float(distance(outputs, batch.targets, plan.outputs, plan.class_outputs)), matches


def train(plan: TrainingPlan, progress: Progress) -> tuple[TrainingState, str | None]:
    """Train the student's parameters in place.

    Returns:
        The state, which holds the best parameters found and the last; and why training ended early, if it did.

    Raises:
        GateError: The loss was not finite for the third time; the curve is in the hint.
        UsageError: The checkpoint belongs to another training.
    """
    parameters = plan.student.parameters
    optimizer = make_optimizer(plan)
    state = checkpoint.resume(plan, optimizer) or TrainingState()
    metrics = evaluate_held_out(plan)
    if not state.best:
        state.best, state.average = copy_tensors(parameters), copy_tensors(parameters)
        state.best_loss = metrics.loss
        state.curve.append({"step": 0, **metrics.as_json()})
    good_snapshot = _take_snapshot(plan, optimizer)
    evaluation_interval = max(1, plan.steps // EVALUATION_COUNT)
    stop_reason = _NO_PROGRESS if state.worse >= _PATIENCE else None
    if plan.last is not None and state.step >= plan.last:  # a checkpoint of a training that was cut there already
        stop_reason = _CUT_SHORT
    memory = GrowthLimit(scale_bytes(_MAX_FREED_BYTES))
    with open_thread_pool() as threads:
        while state.step < plan.steps and stop_reason is None:
            loss = update(plan, optimizer, state, threads)
            memory.keep()
            if not math.isfinite(loss):
                _roll_back(plan, optimizer, state, good_snapshot)
                continue
            state.step += 1
            for name, parameter in parameters.items():
                state.average[name].lerp_(parameter.detach(), 1 / evaluation_interval)
            if state.step == plan.last:
                stop_reason = _CUT_SHORT
            elif plan.deadline is not None and time.monotonic() > plan.deadline:
                stop_reason = "the time was up"
            if state.step % evaluation_interval == 0 or state.step == plan.steps or stop_reason is not None:
                metrics = _evaluate_average(plan, state, loss)
                if stop_reason is None and (state.worse >= _PATIENCE or _is_futile(plan, state)):
                    stop_reason = _NO_PROGRESS
                if stop_reason is None:  # the weights that were just looked at are gone with that
                    optimizer = _take_back(plan, optimizer, state, metrics)
                good_snapshot.clear()  # it is three times the weights
                good_snapshot |= _take_snapshot(plan, optimizer)
                checkpoint.save(plan, good_snapshot, state)
            progress(f"recover: {metrics}", state.step, plan.steps)
    return state, stop_reason if state.step < plan.steps else None


def _evaluate_average(plan: TrainingPlan, state: TrainingState, loss: float) -> HeldOutMetrics:
    """Read the held-back loss of the weights' running average, which is steadier and mostly better than the weights."""
    current_weights = copy_tensors(plan.student.parameters)
    set_parameters(plan, state.average)
    metrics = evaluate_held_out(plan)
    set_parameters(plan, current_weights)
    state.curve.append({"step": state.step, "loss": loss, **metrics.as_json(), "rate": state.rate})
    logger.info("step %d of %d: loss %.5f, %s", state.step, plan.steps, loss, metrics)
    logger.debug("gradient norms by block: %s", {k: f"{v:.2e}" for k, v in state.norms.items()})
    if metrics.loss < state.best_loss:
        state.best, state.best_loss, state.worse = copy_tensors(state.average), metrics.loss, 0
    elif state.step > state.count_blockwise(plan) and metrics.loss > _WORSE_RATIO * state.best_loss:
        state.worse += 1
    return metrics


def _take_back(
    plan: TrainingPlan, optimizer: torch.optim.Optimizer, state: TrainingState, metrics: HeldOutMetrics
) -> torch.optim.Optimizer:
    """Go on from the best weights where what led away from them does no good; the optimizer to go on with.

    Blocks learn on their own as long as they do not lead above where training began. What repair has fitted layer by layer
    gains nothing by that: it is how the errors of layers add up that is left, and only learning together sees it. Together,
    a loss far above the best says that the rate is too high: a forecast sees a few updates of a falling rate, but at its
    peak it stays for many, and what they add as noise is soon more than there is to win.
    """
    is_blockwise = state.step <= state.count_blockwise(plan)
    limit = state.curve[0]["held"] if is_blockwise else _WORSE_RATIO * state.best_loss
    if metrics.loss <= limit or (state.slowdowns == _MAX_SLOWDOWNS and not is_blockwise):
        return optimizer
    set_parameters(plan, state.best)
    state.average = copy_tensors(state.best)
    logger.info("step %d: back to the best weights", state.step)
    if is_blockwise:
        state.blockwise = state.step
        return optimizer  # which knows by now how much the gradients of each weight vary
    state.slowdowns += 1
    state.rate *= _ROLLBACK_RATE_FACTOR
    state.begun = state.step
    return make_optimizer(plan)


def _is_futile(plan: TrainingPlan, state: TrainingState) -> bool:
    """Whether half of a training has brought nothing: what comes of the rest was not on its way by then."""
    given_loss, blockwise = state.curve[0]["held"], state.count_blockwise(plan)
    if state.step < blockwise + _FUTILE_SHARE * (plan.steps - blockwise) or state.best_loss < given_loss:
        return False
    current_weights = copy_tensors(plan.student.parameters)
    set_parameters(plan, {name: torch.lerp(given, state.average[name], 0.5) for name, given in state.best.items()})
    halfway_loss = evaluate_held_out(plan).loss
    set_parameters(plan, current_weights)
    return not halfway_loss < given_loss


def _roll_back(
    plan: TrainingPlan, optimizer: torch.optim.Optimizer, state: TrainingState, good_snapshot: dict[str, Any]
) -> None:
    state.rollbacks += 1
    state.curve.append({"step": state.step, "loss": math.nan, "rate": state.rate})
    if state.rollbacks >= _MAX_ROLLBACKS:
        curve = "; ".join(f"step {int(p['step'])}: {p.get('held', math.nan):.4g}" for p in state.curve)
        raise GateError(
            f"recover: the loss was not finite {_MAX_ROLLBACKS} times, the last at step {state.step}",
            hint=f"lower --lr; held-back loss by step: {curve}",
        )
    state.rate *= _ROLLBACK_RATE_FACTOR
    logger.warning("step %d: the loss is not finite; back to the last good state, rate x %.2g", state.step, state.rate)
    set_parameters(plan, good_snapshot["parameters"])
    optimizer.load_state_dict(copy.deepcopy(good_snapshot["optimizer"]))


def set_parameters(plan: TrainingPlan, values: Mapping[str, Tensor]) -> None:
    """Copy ``values`` into the student's parameters, in place."""
    with torch.no_grad():
        for name, parameter in plan.student.parameters.items():
            parameter.copy_(values[name])


def copy_tensors(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies without gradients."""
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _take_snapshot(plan: TrainingPlan, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"parameters": copy_tensors(plan.student.parameters), "optimizer": copy.deepcopy(optimizer.state_dict())}
