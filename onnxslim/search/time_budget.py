"""What the seconds of a search are for: trials, trainings among them, and the confirmation."""

from __future__ import annotations

import time
from collections.abc import Sequence

from onnxslim.core.attempts import is_successor
from onnxslim.pipeline.attempt import MAX_TIMING_SECONDS
from onnxslim.pipeline.data_splits import DataSplits
from onnxslim.pipeline.task import CompressionTask
from onnxslim.recovery.torch_extra import has_torch
from onnxslim.runtime.parallel import count_workers
from onnxslim.search.candidate import Candidate
from onnxslim.search.finalists import MAX_CONFIRM_READS, is_sure
from onnxslim.search.trial import Trial

#: Which share of the budget trials may use; the rest is for the confirmation, and as much again where that takes longer.
TRIALS_SHARE = 0.9
#: How many finalists are expected to be shown the confirm data, of the most that may be.
_EXPECTED_READS = MAX_CONFIRM_READS - 2
#: Which share of the budget may be left for that at most.
_MAX_CONFIRM_SHARE = 0.25
#: When nothing more is begun that may be left out, as a share of the budget.
_MAX_OVERRUN = 1.05
#: Which share of the budget the steps of each of the first, cheap and sure trials may take, so that there is a result by a
#: third of it; and of the time that is left those of another that prunes nothing, after which one more may come: never less
#: than the last share of all that is left, however long judging seemed to take on a machine that was busy.
_SURE_SHARE, _UNPRUNED_SHARE, _MIN_UNPRUNED_SHARE = 1 / 6, 2 / 3, 1 / 3
#: Which share of it may go to finding out which exact rewrite is slower, where the exact steps alone are.
REWRITES_SHARE = 0.1
#: No step is given less, however late it is.
_MIN_STEP_SECONDS = 1.0
#: Which share of the budget timing one result may take, and the seconds that are enough for any.
_TIMING_SHARE = 0.04
#: Which share of it a full training takes: there is to be time for two, the first of which shows how much comes back.
RECOVERY_SHARE = 0.3
#: Fewer samples than this teach nothing that holds on others, and fewer updates only shake the weights.
_MIN_RECOVERY_SAMPLES, _MIN_RECOVERY_UPDATES = 64, 500
#: Multiply-accumulates a second that a core trains with, roughly, and how many times a model's own an update of 32 samples
#: takes: its teacher's, and its own forwards and twice backwards.
_TRAINING_MACS_PER_SECOND, _UPDATE_COST = 2.5e10, 4 * 32


def reserve_confirm_seconds(splits: DataSplits, trials: Sequence[Trial], budget: float) -> float:
    """Seconds to leave for the confirmation: a tenth of the budget, or up to a quarter where judging takes long.

    Args:
        splits: The finalists are judged on as many samples as *confirm* has.
        trials: Show how long judging on *tune* takes.
        budget: Of the whole search, in seconds.
    """
    minimum = (1 - TRIALS_SHARE) * budget
    if splits.tune is None or splits.confirm is None:
        return minimum
    slowest = max((trial.evaluation_seconds for trial in trials), default=0.0)
    expected = _EXPECTED_READS * slowest * len(splits.confirm) / len(splits.tune)
    return min(max(minimum, expected), _MAX_CONFIRM_SHARE * budget)


def find_confirm_deadline(started: float, splits: DataSplits, trials: Sequence[Trial], budget: float) -> float:
    """Until when finalists are shown the confirm data, on ``time.monotonic``'s clock.

    A process that goes on for one that died has what is kept for the confirmation, however late it is: what was found is not
    to be lost because the time went with a candidate that nobody could foresee.

    Args:
        started: When the search began.
        splits: See :func:`reserve_confirm_seconds`.
        trials: Likewise.
        budget: Of the whole search, in seconds.
    """
    deadline = started + _MAX_OVERRUN * budget
    return max(deadline, time.monotonic() + reserve_confirm_seconds(splits, trials, budget)) if is_successor() else deadline


def choose_step_seconds(candidate: Candidate, trials: Sequence[Trial], seconds_left: float, budget: float) -> float:
    """Seconds that the steps of ``candidate`` may take: what is left, less what judging takes and what is kept for others.

    Args:
        candidate: What is going to be tried.
        trials: Show how long it takes to time and to judge a result.
        seconds_left: Until only the confirmation is left.
        budget: Of the whole search, in seconds.
    """
    judging = max((trial.timing_seconds + trial.evaluation_seconds for trial in trials), default=0.0)
    seconds = seconds_left - judging
    if is_sure(candidate):
        seconds = min(seconds, _SURE_SHARE * budget)
    elif not candidate.pruning_ratio and not candidate.recovery_seconds:
        seconds = max(_UNPRUNED_SHARE * seconds, _MIN_UNPRUNED_SHARE * seconds_left)
    return max(seconds, _MIN_STEP_SECONDS)


def choose_timing_seconds(budget: float) -> float:
    """Seconds that timing the result of a trial may take."""
    return min(MAX_TIMING_SECONDS, _TIMING_SHARE * budget)


def can_recover(task: CompressionTask, seconds: float) -> bool:
    """Whether a training of so many seconds would win anything back: there are torch, samples and time for updates."""
    fit = task.splits.fit
    macs_per_second = _TRAINING_MACS_PER_SECOND * count_workers(task.config)
    updates = seconds * macs_per_second / (_UPDATE_COST * max(task.original_facts.macs, 1))
    return has_torch() and fit is not None and len(fit) >= _MIN_RECOVERY_SAMPLES and updates >= _MIN_RECOVERY_UPDATES
