"""What the seconds of a search are for: trials, trainings among them, and the confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.recover.extra import has_torch
from onnxslim.runtime.parallel import workers as cores
from onnxslim.search.finalists import FINALISTS
from onnxslim.search.trial import Trial
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


def reserve(sets: Sets, trials: Sequence[Trial], budget: float) -> float:
    """Seconds to leave for the confirmation: a tenth of the budget, or up to a fifth where judging takes long.

    Args:
        sets: The finalists are judged on as many samples as *confirm* has.
        trials: Show how long judging on *tune* takes.
        budget: Of the whole search, in seconds.
    """
    least = (1 - TRIALS) * budget
    if sets.tune is None or sets.confirm is None:
        return least
    slowest = max((trial.judging for trial in trials), default=0.0)
    expected = FINALISTS * slowest * len(sets.confirm) / len(sets.tune)
    return min(max(least, expected), 2 * least)


def can_learn(task: Task, seconds: float) -> bool:
    """Whether a training of so many seconds would win anything back: there are torch, samples and time for updates."""
    fit = task.sets.fit
    updates = seconds * _PACE * cores(task.config) / (_UPDATE * max(task.given.macs, 1))
    return has_torch() and fit is not None and len(fit) >= _LESSONS and updates >= _UPDATES
