"""What the seconds of a search are for: trials, trainings among them, and the confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.recover.extra import has_torch
from onnxslim.runtime.parallel import workers as cores
from onnxslim.search.finalists import Tried, reserved
from onnxslim.sets import Sets
from onnxslim.task import Task

#: Which share of the budget trials may use; the rest is for the confirmation, and as much again where that takes longer.
TRIALS = 0.9
#: Which share of it a full training takes: there is to be time for two, the first of which shows how much comes back.
LEARNING = 0.3
#: Fewer samples than this teach nothing that holds on others, and fewer updates only shake the weights.
_LESSONS, _UPDATES = 64, 500
#: Multiply-accumulates a second that a core trains with, roughly, and how many times a model's own an update of 32 samples
#: takes: its teacher's, and its own forwards and twice backwards.
_PACE, _UPDATE = 2.5e10, 4 * 32


def reserve(sets: Sets, trials: Sequence[Tried], budget: float) -> float:
    """Seconds to leave for the confirmation: a share of the budget, or up to twice that where many samples judge."""
    least = (1 - TRIALS) * budget
    if sets.tune is None or sets.confirm is None:
        return least
    return min(max(least, reserved(trials, len(sets.tune), len(sets.confirm))), 2 * least)


def can_learn(task: Task, seconds: float) -> bool:
    """Whether a training of so many seconds would win anything back: there are torch, samples and time for updates."""
    fit = task.sets.fit
    updates = seconds * _PACE * cores(task.config) / (_UPDATE * max(task.given.macs, 1))
    return has_torch() and fit is not None and len(fit) >= _LESSONS and updates >= _UPDATES
