"""The effects of candidates, computed by workers: the same numbers, bit for bit, as one process computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.core.workers import Workers
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.pruning.selection.output_effect import OutputComparer
from onnxslim.runtime.session import SessionConfig

#: Bytes of candidates that are under way to one worker: enough to be worth the reference's run there.
BYTES_PER_WORKER = 64_000_000


@dataclass(frozen=True)
class EffectTask:
    """Some candidates, and what they are compared with.

    Attributes:
        model: The original.
        samples: What both are run on.
        config: How they run.
        preceding: Where all candidates ahead of these began to differ: a walk that comes past the same places holds the
            same bits.
        candidates: (model, the node from which it differs), in the order of the latter.
    """

    model: bytes
    samples: Samples
    config: SessionConfig
    preceding: tuple[int, ...]
    candidates: tuple[tuple[bytes, int], ...]


def run_task(task: EffectTask) -> list[float]:
    """The effect of each of the task's candidates."""
    outputs = OutputComparer(model_file.load(task.model), task.samples, task.config)
    outputs.advance_past(task.preceding)
    return [outputs.measure_effect(model_file.load(data), first_node) for data, first_node in task.candidates]


class DistributedComparer:
    """What :class:`~onnxslim.pruning.selection.output_effect.OutputComparer` does, on ``workers``."""

    def __init__(self, model: ir.Model, samples: Samples, config: SessionConfig, workers: Workers) -> None:
        self._model, self._samples, self._config, self._workers = model_file.to_bytes(model), samples, config, workers

    def measure_effects(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[float]:
        """The effect of each (candidate, first node that differs), in their order."""
        preceding: dict[int, None] = {}
        for wave in self._waves(candidates):
            tasks = []
            for part in np.array_split(np.arange(len(wave)), min(self._workers.count, len(wave))):
                task_candidates = tuple(wave[i] for i in part)
                tasks.append(EffectTask(self._model, self._samples, self._config, tuple(preceding), task_candidates))
                preceding |= dict.fromkeys(first_node for _, first_node in task_candidates)
            for task_effects in self._workers.map(run_task, tasks):
                yield from task_effects

    def _waves(self, candidates: Iterable[tuple[ir.Model, int]]) -> Iterator[list[tuple[bytes, int]]]:
        wave: list[tuple[bytes, int]] = []
        for model, first_node in candidates:
            wave.append((model_file.to_bytes(model), first_node))
            if sum(len(data) for data, _ in wave) >= BYTES_PER_WORKER * self._workers.count:
                yield wave
                wave = []
        if wave:
            yield wave
