"""The loop: updates, judged on held-back samples, rolled back on NaN."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from onnxslim.errors import GateError
from onnxslim.progress import Progress
from onnxslim.recover import checkpoint
from onnxslim.recover.lessons import Lesson
from onnxslim.recover.losses import distance, is_scores
from onnxslim.recover.plan import Plan, State
from onnxslim.recover.updates import open_crew, optimizer_of, update

logger = logging.getLogger(__name__)

#: How often the held-back loss is read over a whole training.
EVALUATIONS = 20
#: So many readings worse than the best by so much end the training early: a few hundred samples tell no less apart, and the
#: best weights are mostly those at the end of the schedule, where the rate has gone to nothing.
_PATIENCE, _WORSE = 12, 1.25
#: The rate after a roll-back, as a share of the one before; the third roll-back is the last.
_SLOWER, _ROLLBACKS = 0.3, 3


class Reading(NamedTuple):
    """What the held-back lessons say.

    Attributes:
        loss: The distance to the teacher's outputs (:func:`~onnxslim.recover.losses.distance`), labels aside.
        agreement: Share of samples whose best class is the teacher's; None where no output holds class scores.
    """

    loss: float
    agreement: float | None

    def __str__(self) -> str:
        agreement = "" if self.agreement is None else f", agreement {self.agreement:.1%}"
        return f"held-back loss {self.loss:.3g}{agreement}"


def read_held(plan: Plan) -> Reading:
    """Run the student on the held-back lessons."""
    with open_crew() as crew:
        found = list(crew.map(lambda lesson: _read(plan, lesson), plan.held))
    agreed = [same for _, agreement in found for same in agreement]
    share = float(torch.cat(agreed).float().mean()) if agreed else None
    return Reading(sum(loss for loss, _ in found) / len(plan.held), share)


def _read(plan: Plan, lesson: Lesson) -> tuple[float, list[Tensor]]:
    """The loss of one lesson, and for each output that scores classes which samples agree with the teacher."""
    with torch.no_grad():
        found = plan.student.run(lesson.feeds, plan.outputs)
        scored = [name for name in plan.outputs if is_scores(lesson.targets[name])]
        agreed = [found[name].argmax(1) == lesson.targets[name].argmax(1) for name in scored]
        return float(distance(found, lesson.targets, plan.outputs)), agreed


def train(plan: Plan, progress: Progress) -> State:
    """Train the student's parameters in place; the state that is returned holds the best ones found, and the last.

    Raises:
        GateError: The loss was not finite for the third time; the curve is in the hint.
        UsageError: The checkpoint belongs to another training.
    """
    parameters = plan.student.parameters
    optimizer = optimizer_of(plan)
    state = checkpoint.resume(plan, optimizer) or State()
    if not state.best:
        state.best, state.average = _copied(parameters), _copied(parameters)
        reading = read_held(plan)
        state.best_loss = reading.loss
        state.curve.append({"step": 0, **_known(reading)})
    else:
        reading = read_held(plan)
    good = _snapshot(plan, optimizer)
    every = max(1, plan.steps // EVALUATIONS)
    with open_crew() as crew:
        while state.step < plan.steps and state.worse < _PATIENCE:
            loss = update(plan, optimizer, state, crew)
            if not math.isfinite(loss):
                _roll_back(plan, optimizer, state, good)
                continue
            state.step += 1
            for name, parameter in parameters.items():
                state.average[name].lerp_(parameter.detach(), 1 / every)
            late = state.step == plan.last or (plan.deadline is not None and time.monotonic() > plan.deadline)
            if state.step % every == 0 or state.step == plan.steps or late:
                reading = _evaluate(plan, state, loss)
                good = _snapshot(plan, optimizer)
                checkpoint.save(plan, good, state)
            progress(f"recover: {reading}", state.step, plan.steps)
            if late:
                break
    return state


def _known(reading: Reading) -> dict[str, float]:
    shares = {} if reading.agreement is None else {"agreement": reading.agreement}
    return {"held": reading.loss, **shares}


def _evaluate(plan: Plan, state: State, loss: float) -> Reading:
    """Read the held-back loss of the weights' running average, which is steadier and mostly better than the weights."""
    current = _copied(plan.student.parameters)
    put(plan, state.average)
    reading = read_held(plan)
    held = reading.loss
    put(plan, current)
    state.curve.append({"step": state.step, "loss": loss, **_known(reading), "rate": state.rate})
    logger.info("step %d of %d: loss %.5f, %s", state.step, plan.steps, loss, reading)
    logger.debug("gradient norms by block: %s", {k: f"{v:.2e}" for k, v in state.norms.items()})
    if held < state.best_loss:
        state.best, state.best_loss, state.worse = _copied(state.average), held, 0
    elif state.step > plan.blockwise and held > _WORSE * state.best_loss:
        state.worse += 1
    return reading


def _roll_back(plan: Plan, optimizer: torch.optim.Optimizer, state: State, good: dict[str, Any]) -> None:
    state.rollbacks += 1
    state.curve.append({"step": state.step, "loss": math.nan, "rate": state.rate})
    if state.rollbacks >= _ROLLBACKS:
        curve = "; ".join(f"step {int(p['step'])}: {p.get('held', math.nan):.4g}" for p in state.curve)
        raise GateError(
            f"recover: the loss was not finite {_ROLLBACKS} times, the last at step {state.step}",
            hint=f"lower --lr; held-back loss by step: {curve}",
        )
    state.rate *= _SLOWER
    logger.warning(
        "step %d: the loss is not finite; back to the last good state, rate x %.2g", state.step, state.rate
    )
    put(plan, good["parameters"])
    optimizer.load_state_dict(_deep(good["optimizer"]))


def put(plan: Plan, values: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in plan.student.parameters.items():
            parameter.copy_(values[name])


def _copied(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in parameters.items()}


def _deep(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _deep(item) for key, item in value.items()}
    return [_deep(item) for item in value] if isinstance(value, list) else value


def _snapshot(plan: Plan, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    return {"parameters": _copied(plan.student.parameters), "optimizer": _deep(optimizer.state_dict())}
