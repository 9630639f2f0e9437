"""The calibration data as every part of the step reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_timed_runs, list_prompts
from onnxslim.runtime.session import SessionConfig

#: Fewer samples than this are not calibrated on where there are more, however little time there is.
MIN_AFFORDABLE_SAMPLES = 32
#: Which share of the time of a step watching may take, and plain runs of a sample that it takes: channels for equalisation,
#: extremes and values for ranges.
_WATCHING_SHARE, _WATCHING_RUNS = 0.4, 4.0


def count_affordable_samples(count: int, run_seconds: float, seconds: float) -> int:
    """How many of ``count`` samples can be watched in a step of so many ``seconds``, each of which runs ``run_seconds``."""
    affordable = _WATCHING_SHARE * seconds / (_WATCHING_RUNS * max(run_seconds, 1e-9))
    return min(count, max(MIN_AFFORDABLE_SAMPLES, int(min(affordable, count))))


class CalibrationFeeds:
    """Single samples (as many as the model takes where its batch is fixed), streamed as often as asked."""

    def __init__(self, samples: Samples) -> None:
        self._samples, self._batch = samples, samples.fixed_batch or 1

    def __len__(self) -> int:
        return len(self._samples) // self._batch

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        yield from self._samples.batches(1)

    def digests(self) -> list[bytes]:
        """A hash of the contents of each."""
        sample_digests = self._samples.digests()
        return [b"".join(sample_digests[i : i + self._batch]) for i in range(0, len(self) * self._batch, self._batch)]

    def first(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The first ``count``, held; or all there are."""
        return list(self[:count])

    def for_timing(self, count: int, config: SessionConfig, placement: str) -> list[Mapping[str, np.ndarray]]:
        """``count`` runs that stand for what a service does, held; or fewer.

        Where times are ``measured`` each has as many samples as ``config`` says. A table counts single ones: what is
        ``static`` is the same file in whichever batches the data are read.
        """
        return list(draw_timed_runs(self._samples, count, config.batch_size if placement == "measured" else 1))

    def with_prompts(self, count: int) -> CalibrationFeeds:
        """``count`` of them, or all there are: of texts up to half are runs that read a prompt, which show many tokens; the
        others are from the first to the last.
        """
        prompts = list_prompts(self._samples, max(1, count // 2))
        if not len(prompts):
            return self[np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)]
        others = np.setdiff1d(np.arange(len(self._samples)), prompts)
        spread = np.linspace(0, len(others) - 1, min(count - len(prompts), len(others))).round().astype(np.int64)
        return CalibrationFeeds(self._samples.take(np.concatenate([prompts, others[spread]])))

    def last(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The last ``count``, held; or all there are."""
        return list(self[max(0, len(self) - count) :])

    def spread(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """``count`` of them from the first to the last, held; or all there are. Steps of a sequence are alike in a row."""
        positions = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(np.int64)
        return list(self[positions])

    def __getitem__(self, selection: slice | np.ndarray) -> CalibrationFeeds:
        """The runs of a slice, or at int64 positions; at least one."""
        order = np.arange(len(self) * self._batch).reshape(-1, self._batch)
        return CalibrationFeeds(self._samples.take(order[selection]))
