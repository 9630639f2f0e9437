"""The effects of candidates, computed by workers: the same numbers, bit for bit, as one process computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.prune.effect import Outputs
from onnxslim.runtime.session import SessionConfig
from onnxslim.workers import Workers

#: Bytes of candidates that are under way to one worker: enough to be worth the reference's run there.
LOAD = 64_000_000


@dataclass(frozen=True)
class Task:
    """Some candidates, and what they are compared with.

    Attributes:
        model: The original.
        samples: What both are run on.
        config: How.
        before: Where all candidates ahead of these began to differ: a walk that comes past the same places holds the
            same bits.
        candidates: (model, the node from which it differs), in the order of the latter.
    """

    model: bytes
    samples: Samples
    config: SessionConfig
    before: tuple[int, ...]
    candidates: tuple[tuple[bytes, int], ...]


def effects(task: Task) -> list[float]:
    """The effect of each of the task's candidates."""
    outputs = Outputs(io.load(task.model), task.samples, task.config)
    outputs.pass_by(task.before)
    return [outputs.effect(io.load(data), first) for data, first in task.candidates]


class Spread:
    """What :class:`~onnxslim.prune.effect.Outputs` does, on ``workers``."""

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig, workers: Workers) -> None:
        self._model, self._samples, self._config, self._workers = io.to_bytes(model), samples, config, workers

    def effects(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[float]:
        """See there."""
        before: dict[int, None] = {}
        for wave in self._waves(candidates):
            tasks = []
            for part in np.array_split(np.arange(len(wave)), min(self._workers.count, len(wave))):
                mine = tuple(wave[i] for i in part)
                tasks.append(Task(self._model, self._samples, self._config, tuple(before), mine))
                before |= dict.fromkeys(first for _, first in mine)
            for found in self._workers.map(effects, tasks):
                yield from found

    def _waves(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[list[tuple[bytes, int]]]:
        wave: list[tuple[bytes, int]] = []
        for model, first in candidates:
            wave.append((io.to_bytes(model), first))
            if sum(len(data) for data, _ in wave) >= LOAD * self._workers.count:
                yield wave
                wave = []
        if wave:
            yield wave
