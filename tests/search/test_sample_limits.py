"""How many samples a budget has time for."""

from __future__ import annotations

import pytest

from onnxslim.pipeline.data_splits import TUNE_SHARE
from onnxslim.pipeline.task import CompressionTask, prepare_task
from onnxslim.search import sample_limits
from onnxslim.search.sample_limits import halve_samples, limit_samples, time_sample
from tests.support.digits_task import CALIB, EVAL, MLP


@pytest.fixture
def task() -> CompressionTask:
    return prepare_task(MLP, "optimize", data=CALIB, eval_data=EVAL, tune=TUNE_SHARE)


def test_where_there_is_time_for_all_nothing_is_left_out(task: CompressionTask) -> None:
    limited = limit_samples(task, 600.0)
    assert limited.splits == task.splits
    assert limited.warnings() == task.warnings()


@pytest.mark.parametrize(("seconds", "tune", "confirm"), [(0.05, 36, 48), (100.0, 8, 8)])
def test_a_slow_model_is_judged_by_what_fits_and_that_is_said(
    seconds: float, tune: int, confirm: int, task: CompressionTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_limits, "time_sample", lambda *_: seconds)
    first, again = (limit_samples(task, 60.0, seed=3) for _ in range(2))
    assert first.splits.tune is not None
    assert first.splits.confirm is not None
    assert again.splits.confirm is not None
    assert (len(first.splits.tune), len(first.splits.confirm)) == (tune, confirm)
    assert first.splits.confirm.digests() == again.splits.confirm.digests(), "the seed draws"
    assert first.splits.fit == task.splits.fit, "what steps are fitted on is theirs to limit"
    assert len([line for line in first.warnings() if "--budget has no time for more" in line]) == 2
    assert task.splits.confirm is not None
    assert not any("no time" in line for line in task.splits.confirm.warnings), "the samples themselves are as they were"


def test_a_sample_is_timed_by_running_it(task: CompressionTask) -> None:
    assert task.splits.fit is not None
    assert 0 < time_sample(task.original, task.splits.fit, task.config) < 10


def test_a_run_that_waited_for_another_process_does_not_stand_for_all(
    task: CompressionTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert task.splits.fit is not None
    # each run is 1 ms, but the first that is timed has waited for 200
    moments = iter([0.0, 0.2, *(0.2 + 0.001 * tick for tick in range(1, 999))])
    monkeypatch.setattr(sample_limits.time, "perf_counter", lambda: next(moments))
    assert time_sample(task.original, task.splits.fit, task.config) == pytest.approx(0.001)


@pytest.mark.parametrize(("count", "counts"), [(20, [20]), (63, [63]), (64, [64, 32]), (300, [300, 150, 75, 37])])
def test_pruning_takes_half_of_the_samples_and_half_again_down_to_32(count: int, counts: list[int]) -> None:
    assert [*halve_samples(count)] == counts
