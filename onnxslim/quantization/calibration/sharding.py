"""Calibration in shards: every worker watches a part of the samples, and what they saw is added up.

Statistics of shards add up to exactly those of the whole (:mod:`onnxslim.quantization.calibration.histograms`), so
where they were taken shows nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from onnxslim.core.workers import Workers
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration import observe
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.calibration.histograms import Statistics
from onnxslim.runtime.session import SessionConfig

#: Fewer samples than this are not worth a journey.
MIN_SHARD_SAMPLES = 16


@dataclass(frozen=True)
class Shard:
    """What a worker needs: the arguments of :func:`onnxslim.quantization.calibration.observe.collect_statistics`."""

    model: bytes
    feeds: CalibrationFeeds
    names: tuple[str, ...]
    config: SessionConfig
    memory: int | None


def observe_shard(shard: Shard) -> Statistics:
    """The statistics of one shard."""
    model = model_file.load(shard.model)
    return observe.collect_statistics(model, shard.feeds, shard.names, shard.config, memory_limit=shard.memory)


def collect_sharded_statistics(
    model: ir.Model,
    feeds: CalibrationFeeds,
    names: Sequence[str],
    config: SessionConfig,
    memory: int | None,
    workers: Workers,
) -> Statistics:
    """What :func:`onnxslim.quantization.calibration.observe.collect_statistics` gives, from ``workers``.

    Raises:
        InvalidDataError: As there.
    """
    count = max(1, min(workers.count, len(feeds) // MIN_SHARD_SAMPLES))
    model_bytes = model_file.to_bytes(model)
    index_parts = np.array_split(np.arange(len(feeds)), count)
    shards = [Shard(model_bytes, feeds[part], tuple(names), config, memory) for part in index_parts]
    return reduce(Statistics.merge, workers.map(observe_shard, shards))
