"""What a training is expected to bring, told before it starts: a short one is made first and taken back."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, replace

import torch

from onnxslim.recovery.distillation.optimizer_step import make_optimizer, open_thread_pool, update
from onnxslim.recovery.distillation.training import copy_tensors, evaluate_held_out, set_parameters
from onnxslim.recovery.distillation.training_plan import TrainingPlan, TrainingState

#: The updates of the short training: a share of all, so that it costs as much, and no more than this.
TRIAL_SHARE, _MAX_TRIAL_UPDATES = 1 / 20, 20
#: Of fewer than this nothing can be told, and they are made where they are no more than this share of all.
_MIN_TRIAL_UPDATES, _MAX_TRIAL_SHARE = 3, 0.15
#: How many rates are tried, each so many times the one before, while none brings anything.
_MAX_RATES, _RATE_FACTOR = 3, 0.3
#: No forecast promises to win back more than this of the distance to the teacher.
_MAX_GAIN = 0.9


@dataclass(frozen=True)
class Forecast:
    """What is told.

    Attributes:
        updates: How many are planned.
        passes: How often each sample is seen in them.
        trial_updates: How many the short training had.
        loss: What the held-back samples said before (:class:`~onnxslim.recovery.distillation.training.HeldOutMetrics`).
        trial_loss: What they said after the short training.
        expected_loss: What they are expected to say after all updates.
    """

    updates: int
    passes: float
    trial_updates: int
    loss: float
    trial_loss: float
    expected_loss: float

    @property
    def has_gain(self) -> bool:
        """Whether the short training brought anything."""
        return self.trial_loss < self.loss

    def __str__(self) -> str:
        brought = f"{self.trial_updates} tried first took the held-back loss from {self.loss:.3g} to {self.trial_loss:.3g}"
        expected = f"about {self.expected_loss:.3g} expected" if self.has_gain else "no gain to be expected"
        return f"{self.updates} updates, each sample seen {self.passes:.3g} times; {brought}, {expected}"

    def as_json(self) -> dict[str, float]:
        """For the report."""
        return asdict(self)


def choose_rate(plan: TrainingPlan) -> tuple[TrainingPlan, Forecast | None]:
    """The plan at its own rate if a short training at that gains anything, else at the best of some lower ones.

    What pruning repaired lies in a narrow valley: the first updates at a rate that suits a damaged network lose more there
    than a short training wins back.
    """
    tried = [(plan, forecast_training(plan))]
    while tried[-1][1] is not None and not tried[-1][1].has_gain and len(tried) < _MAX_RATES:
        slower = replace(plan, lr=tried[-1][0].lr * _RATE_FACTOR)
        tried.append((slower, forecast_training(slower)))
    told = [(slower, forecast) for slower, forecast in tried if forecast is not None]
    return min(told, key=lambda entry: entry[1].trial_loss) if told else tried[0]


def forecast_training(plan: TrainingPlan) -> Forecast | None:
    """Make a short training with a schedule of its own, and take it back; None where there are too few updates for one.

    What it brings grows with the logarithm of the updates, as far as a straight line through so little can tell.
    """
    count = min(max(int(TRIAL_SHARE * plan.steps), _MIN_TRIAL_UPDATES), _MAX_TRIAL_UPDATES)
    if count > _MAX_TRIAL_SHARE * plan.steps:
        return None
    loss = evaluate_held_out(plan).loss
    given = copy_tensors(plan.student.parameters)
    try:
        if not _train_shortly(replace(plan, steps=count, blockwise=0, warmup=1), plan.deadline):
            return None
        learnt = copy_tensors(plan.student.parameters)
        losses = []
        for blend in (1.0, 0.5):  # halfway is less noisy than so few updates leave the weights
            set_parameters(plan, {name: torch.lerp(given[name], tensor, blend) for name, tensor in learnt.items()})
            losses.append(evaluate_held_out(plan).loss)
    finally:
        set_parameters(plan, given)
    gain = max(0.0, loss - min(losses)) * math.log1p(plan.steps) / math.log1p(count)
    passes = plan.steps * plan.batch_size / len(plan.loader.cache)
    return Forecast(plan.steps, passes, count, loss, min(losses), loss - min(gain, _MAX_GAIN * loss))


def _train_shortly(plan: TrainingPlan, deadline: float | None) -> bool:
    """All updates of ``plan``, without a look at what they do; whether they came to a finite end in time."""
    optimizer, state = make_optimizer(plan), TrainingState()
    with open_thread_pool() as threads:
        while state.step < plan.steps:
            is_late = deadline is not None and time.monotonic() > deadline
            if is_late or not math.isfinite(update(plan, optimizer, state, threads)):
                return False
            state.step += 1
    return True
