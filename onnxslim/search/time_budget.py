"""What the seconds of a search are for: trials, trainings among them, and the confirmation."""

from __future__ import annotations

from collections.abc import Sequence

from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.task import CompressionTask
from onnxslim.recovery.torch_extra import has_torch
from onnxslim.runtime.parallel import count_workers
from onnxslim.search.finalists import MAX_FINALISTS
from onnxslim.search.trial import Trial

#: Which share of the budget trials may use; the rest is for the confirmation, and as much again where that takes longer.
TRIALS_SHARE = 0.9
#: Which share of it a full training takes: there is to be time for two, the first of which shows how much comes back.
RECOVERY_SHARE = 0.3
#: Fewer samples than this teach nothing that holds on others, and fewer updates only shake the weights.
_MIN_RECOVERY_SAMPLES, _MIN_RECOVERY_UPDATES = 64, 500
#: Multiply-accumulates a second that a core trains with, roughly, and how many times a model's own an update of 32 samples
#: takes: its teacher's, and its own forwards and twice backwards.
_TRAINING_MACS_PER_SECOND, _UPDATE_COST = 2.5e10, 4 * 32


def reserve_confirm_seconds(splits: DataSplits, trials: Sequence[Trial], budget: float) -> float:
    """Seconds to leave for the confirmation: a tenth of the budget, or up to a fifth where judging takes long.

    Args:
        splits: The finalists are judged on as many samples as *confirm* has.
        trials: Show how long judging on *tune* takes.
        budget: Of the whole search, in seconds.
    """
    minimum = (1 - TRIALS_SHARE) * budget
    if splits.tune is None or splits.confirm is None:
        return minimum
    slowest = max((trial.evaluation_seconds for trial in trials), default=0.0)
    expected = MAX_FINALISTS * slowest * len(splits.confirm) / len(splits.tune)
    return min(max(minimum, expected), 2 * minimum)


def can_recover(task: CompressionTask, seconds: float) -> bool:
    """Whether a training of so many seconds would win anything back: there are torch, samples and time for updates."""
    fit = task.splits.fit
    macs_per_second = _TRAINING_MACS_PER_SECOND * count_workers(task.config)
    updates = seconds * macs_per_second / (_UPDATE_COST * max(task.original_facts.macs, 1))
    return has_torch() and fit is not None and len(fit) >= _MIN_RECOVERY_SAMPLES and updates >= _MIN_RECOVERY_UPDATES
