"""How many samples a search can afford: to judge by few enough that every trial and every finalist fits the budget, and to
prune with as many as there is time for.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples, list_timed
from onnxslim.pipeline.task import CompressionTask
from onnxslim.runtime.session import Session, SessionConfig

#: Which share of the budget judging one result may take: on *tune*, which every trial is judged by and steps ask several
#: times, and on *confirm*.
_TUNE_SHARE, _CONFIRM_SHARE = 0.06, 0.08
#: Fewer samples than this tell nothing, whatever time they take.
_MIN_SAMPLES = 8
#: Pruning that there is no time for takes fewer samples, down to about so many.
_MIN_PRUNING_SAMPLES = 32
#: How often a sample is timed: for so many seconds, within these numbers; only once where it takes so long.
_MEASURING_SECONDS, _MIN_RUNS, _MAX_RUNS, _LONG_RUN = 0.05, 3, 99, 0.5


def limit_samples(task: CompressionTask, budget: float, seed: int = 0) -> CompressionTask:
    """``task`` with no more *tune* and *confirm* samples than ``budget`` seconds have time for, drawn by ``seed``.

    What is left out is said in the warnings of the samples.
    """
    splits = task.splits
    samples = splits.tune or splits.confirm or splits.fit
    if samples is None:
        return task
    # the original and the result
    seconds = 2 * time_sample(task.original, samples, task.config)
    tune = _draw(splits.tune, round(_TUNE_SHARE * budget / seconds), seed)
    confirm = _draw(splits.confirm, round(_CONFIRM_SHARE * budget / seconds), seed)
    return dataclasses.replace(task, splits=dataclasses.replace(splits, tune=tune, confirm=confirm))


def time_sample(model: ir.Model, samples: Samples, config: SessionConfig) -> float:
    """Seconds that ``model`` takes for one of ``samples``, roughly: the median of a few, since one that waited for another
    process would stand for hundreds of short ones.
    """
    session = Session(model, config)
    feed = next(iter(samples.take(list_timed(samples, 1)).batches(1)))
    session.run(feed)
    taken: list[float] = []
    while len(taken) < _MIN_RUNS or (sum(taken) < _MEASURING_SECONDS and len(taken) < _MAX_RUNS):
        started = time.perf_counter()
        session.run(feed)
        taken.append(time.perf_counter() - started)
        if taken[0] > _LONG_RUN:
            break
    return float(np.median(taken)) / (samples.fixed_batch or 1)


def halve_samples(count: int) -> Iterator[int]:
    """``count``, half of it and so on, as many samples as are worth pruning with."""
    yield count
    while count >= 2 * _MIN_PRUNING_SAMPLES:
        count //= 2
        yield count


def _draw(samples: Samples | None, limit: int, seed: int) -> Samples | None:
    """About ``limit`` of ``samples``, or all of them; of sequences the first."""
    if samples is None or len(samples) <= max(limit, _MIN_SAMPLES):
        return samples
    count = samples.round_to_runs(max(limit, _MIN_SAMPLES))
    if count >= len(samples):
        return samples
    indices = np.arange(count) if samples.sequences is not None else draw_samples(samples, count, seed)
    drawn = samples.take(indices)
    drawn.warnings.append(
        f"judged by {len(drawn)} of {len(samples)} samples of {samples.source}: --budget has no time for more"
    )
    return drawn
