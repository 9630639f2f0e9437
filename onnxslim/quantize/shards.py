"""Calibration in shards: every worker watches a part of the samples, and what they saw is added up.

Statistics of shards add up to exactly those of the whole (:mod:`onnxslim.quantize.statistics`), so where they were taken
shows nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.quantize import calibrate
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.statistics import Statistics
from onnxslim.runtime.session import SessionConfig
from onnxslim.workers import Workers

#: Fewer samples than this are not worth a journey.
LEAST = 16


@dataclass(frozen=True)
class Shard:
    """What a worker needs: the arguments of :func:`onnxslim.quantize.calibrate.statistics`, and where its samples begin."""

    model: bytes
    feeds: Feeds
    names: tuple[str, ...]
    config: SessionConfig
    memory: int | None
    first: int


def watch(shard: Shard) -> Statistics:
    """The statistics of one shard."""
    model = io.load(shard.model)
    return calibrate.statistics(
        model, shard.feeds, shard.names, shard.config, memory=shard.memory, first=shard.first
    )


def statistics(
    model: ir.Model, feeds: Feeds, names: Sequence[str], config: SessionConfig, memory: int | None, workers: Workers
) -> Statistics:
    """What :func:`onnxslim.quantize.calibrate.statistics` gives, from ``workers``.

    Raises:
        InvalidDataError: As there.
    """
    count = max(1, min(workers.count, len(feeds) // LEAST))
    data = io.to_bytes(model)
    parts = np.array_split(np.arange(len(feeds)), count)
    shards = [Shard(data, feeds[part], tuple(names), config, memory, int(part[0])) for part in parts]
    return reduce(Statistics.merge, workers.map(watch, shards))
