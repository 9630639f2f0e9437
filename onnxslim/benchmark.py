"""Benchmark: how long models take, side by side in one run, and how many inferences a second they give."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.errors import InvalidModelError
from onnxslim.progress import Progress, silent
from onnxslim.runtime.energy import counter
from onnxslim.runtime.memory import Memory, memory
from onnxslim.runtime.profile import fallback, node_times
from onnxslim.runtime.session import Session, SessionConfig, trial
from onnxslim.runtime.timing import Timing, interleave
from onnxslim.validate.energy import energy
from onnxslim.validate.latency import percentiles
from onnxslim.validate.statistics import median_interval, ratio_interval

Feed = Mapping[str, np.ndarray]

#: Inputs that the rounds go through, and seconds for which inferences are counted.
_FEEDS, _COUNTING = 8, 1.0


@dataclass(frozen=True)
class Speed:
    """One model, timed.

    Attributes:
        name: Its path, or ``model 1``.
        create_ms: Time to create the session: loading and the runtime's optimisation.
        first_ms: The first inference, which allocates.
        steady: Median, p90, p99 and the median's 95 % interval of the rest, in ms.
        ratio: How many times faster than the first model: median of the per-round ratios; 1.0 for the first itself.
        interval: 95 % interval of the ratio.
        throughput: Samples a second, ``concurrency`` inferences at a time, with its 95 % interval.
        memory: What it takes in a bare process: resident, peak, on the device.
    """

    name: str
    create_ms: float
    first_ms: float
    steady: dict[str, Any]
    ratio: float
    interval: tuple[float, float]
    throughput: dict[str, Any]
    memory: Memory


@dataclass(frozen=True)
class Benchmark:
    """Models timed in turn, A B C A B C …; the first is the one that others are compared with.

    Attributes:
        models: In the order given.
        timing: The rounds themselves.
        data: What the inputs were.
        energy: The contract's ``energy``; models by name.
        warnings: One line each.
    """

    models: list[Speed]
    timing: Timing
    data: str
    energy: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Additions to the contract."""
        about = {"provider": self.timing.provider, "threads": self.timing.threads, "batch": self.timing.batch}
        rounds = len(next(iter(self.timing.rounds.values())))
        return {
            "models": [
                {
                    **vars(m),
                    "memory": m.memory.peak,
                    "resident_memory": m.memory.resident,
                    "device_memory": m.memory.device,
                }
                for m in self.models
            ],
            "timing": {**about, "rounds": rounds, "data": self.data},
            "energy": self.energy,
        }


def benchmark(
    models: Sequence[io.ModelLike],
    samples: Samples | None = None,
    *,
    config: SessionConfig | None = None,
    batch_size: int = 1,
    concurrency: int = 1,
    dims: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    progress: Progress = silent,
) -> Benchmark:
    """Time ``models`` on the same inputs.

    Args:
        models: One or more with the same inputs.
        samples: What they are fed with; random values by default, which time the same unless the work depends on them.
        config: Where they run.
        batch_size: Samples in one inference, where the model leaves that free.
        concurrency: Inferences at a time when throughput is counted; the latency is that of one alone.
        dims: Sizes of free dimensions, for random inputs.
        seconds: How long to time.
        progress: Told about every round.

    Raises:
        InvalidModelError: The models do not take the same inputs.
    """
    config = config or SessionConfig()
    loaded = {name: io.load(model) for name, model in zip(_names(models), models, strict=True)}
    first = next(iter(loaded.values()))
    if samples is None:
        count = _FEEDS * batch_size
        samples = open_samples("random", first, max_samples=count, dims=dims, runs=trial(first, config))
    feeds: list[Feed] = list(itertools.islice(samples.batches(batch_size), _FEEDS))
    sessions, started = {}, {}
    for name, model in loaded.items():
        sessions[name], started[name] = _start(name, model, feeds, config)
    timing = interleave(sessions, feeds, seconds=seconds, progress=progress)
    base = next(iter(timing.rounds.values()))
    found = [
        Speed(
            name,
            *started[name],
            percentiles(rounds),
            float(np.median(base / rounds)),
            (1.0, 1.0) if rounds is base else ratio_interval(base, rounds),
            _throughput(sessions[name], feeds, timing.batch, concurrency),
            memory(loaded[name], feeds[0], config),
        )
        for name, rounds in timing.rounds.items()
    ]
    taken = energy(loaded, sessions, feeds, counter(next(iter(sessions.values())).provider), dims)
    return Benchmark(found, timing, samples.source, taken, [*samples.warnings, *_fallbacks(loaded, feeds, config)])


def _fallbacks(models: Mapping[str, ir.Model], feeds: Sequence[Feed], config: SessionConfig) -> Iterator[str]:
    """One line for each model that did not run whole on the provider that was asked for."""
    if config.provider == "cpu":
        return  # there is nothing to fall back from
    for name, model in models.items():
        caution = fallback(node_times(model, feeds, config, runs=1, warmup=1).values(), config)
        if caution is not None:
            yield f"{name}: {caution}"


def _names(models: Sequence[io.ModelLike]) -> list[str]:
    names = [os.fspath(m) if isinstance(m, (str, os.PathLike)) else f"model {n}" for n, m in enumerate(models, 1)]
    return [f"{name} ({n})" if names.index(name) < n - 1 else name for n, name in enumerate(names, 1)]


def _start(
    name: str, model: ir.Model, feeds: Sequence[Feed], config: SessionConfig
) -> tuple[Session, tuple[float, float]]:
    """A session, and the milliseconds of its creation and of its first inference."""
    begin = time.perf_counter()
    session = Session(model, config)
    created = time.perf_counter()
    if sorted(session.inputs) != sorted(feeds[0]):
        raise InvalidModelError(
            f"{name}: takes {', '.join(session.inputs)}, the first model {', '.join(feeds[0])}",
            hint="models that are timed together take the same inputs",
        )
    run = time.perf_counter()
    session.run(feeds[0])
    return session, (1e3 * (created - begin), 1e3 * (time.perf_counter() - run))


def _throughput(session: Session, feeds: Sequence[Feed], batch: int, concurrency: int) -> dict[str, Any]:
    """Samples a second while ``concurrency`` threads share the session.

    The interval is that of the median over tenths of the time; None where too few inferences fit into one.
    """
    begin = time.perf_counter()
    end = begin + _COUNTING

    def work(offset: int) -> list[float]:
        stamps = []
        for index in itertools.count(offset):
            session.run(feeds[index % len(feeds)])
            stamps.append(time.perf_counter() - begin)
            if begin + stamps[-1] > end:
                break
        return stamps

    with ThreadPoolExecutor(concurrency) as pool:
        taken = np.concatenate(list(pool.map(work, range(concurrency))))
    per_second = len(taken) * batch / float(taken.max())
    tenths, _ = np.histogram(taken, bins=10, range=(0, _COUNTING))
    interval = None if tenths.min() < 3 else list(median_interval(tenths * batch * 10 / _COUNTING))
    return {"per_second": per_second, "interval": interval, "concurrency": concurrency}
