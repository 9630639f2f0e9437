"""Benchmark: how long models take, side by side in one run, and how many inferences a second they give."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import InvalidModelError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.runtime.devices.device import TimedSession, current_device
from onnxslim.runtime.energy.energy_counter import find_timed_counter
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.memory import MemoryUsage, measure_memory
from onnxslim.runtime.node_profile import describe_fallback, measure_node_times
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import Timing, count_inferences, interleave
from onnxslim.tools.profiling import draw_feeds
from onnxslim.validation.energy import measure_energy
from onnxslim.validation.latency import compute_percentiles
from onnxslim.validation.statistics import median_interval, ratio_interval

InputArrays = Mapping[str, np.ndarray]

#: Seconds for which inferences are counted.
_THROUGHPUT_SECONDS = 1.0


@dataclass(frozen=True)
class ModelSpeed:
    """One model, timed.

    Attributes:
        name: Its path, or ``model 1``.
        create_ms: Time to create the session: loading and the runtime's optimisation.
        first_ms: The first inference, which allocates.
        steady: Median, p90, p99 and the median's 95 % interval of the rest, in ms.
        ratio: How many times faster than the first model: median of the per-round ratios; 1.0 for the first itself.
        interval: 95 % interval of the ratio.
        throughput: Samples a second, ``concurrency`` inferences at a time, with its 95 % interval; and ``processor_ms``, the
            processor time of a sample, of all threads and their waits for each other: it stands for the energy where nothing
            counts joules. None on a provider or a machine whose processors this process does not see.
        memory: What it takes in a bare process: resident, peak, on the device.
    """

    name: str
    create_ms: float
    first_ms: float
    steady: dict[str, Any]
    ratio: float
    interval: tuple[float, float]
    throughput: dict[str, Any]
    memory: MemoryUsage


@dataclass(frozen=True)
class Benchmark:
    """Models timed in turn, A B C A B C …; the first is the one that others are compared with.

    Attributes:
        models: In the order given.
        timing: The rounds themselves.
        batch: Samples in one inference.
        data: What the inputs were.
        energy: The contract's ``energy``; models by name.
        warnings: One line each.
    """

    models: list[ModelSpeed]
    timing: Timing
    batch: int
    data: str
    energy: dict[str, Any]
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Additions to the contract."""
        about = {"provider": self.timing.provider, "threads": self.timing.threads, "batch": self.batch}
        rounds = len(next(iter(self.timing.rounds.values())))
        return {
            "models": [
                vars(m) | {"memory": m.memory.peak, "resident_memory": m.memory.resident, "device_memory": m.memory.device}
                for m in self.models
            ],
            "timing": {**about, "rounds": rounds, "data": self.data},
            "energy": self.energy,
        }


def benchmark(
    models: Sequence[model_file.ModelLike],
    samples: Samples | None = None,
    *,
    config: SessionConfig | None = None,
    batch_size: int = 1,
    concurrency: int = 1,
    dims: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    progress: Progress = ignore_progress,
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
    names = [os.fspath(m) if isinstance(m, (str, os.PathLike)) else f"model {n}" for n, m in enumerate(models, 1)]
    names = [f"{name} ({n})" if names.index(name) < n - 1 else name for n, name in enumerate(names, 1)]
    loaded = {name: model_file.load(model) for name, model in zip(names, models, strict=True)}
    for name, model in loaded.items():
        check_survives(model, config, name=name)
    first = next(iter(loaded.values()))
    samples, feeds = draw_feeds(first, samples, config, batch_size, dims)
    batch = len(feeds[0].indices)
    sessions, start_times = {}, {}
    for name, model in loaded.items():
        sessions[name], start_times[name] = _start_session(name, model, feeds, config)
    timing = interleave(sessions, feeds, seconds=seconds, progress=progress, wall=True)
    first_rounds = next(iter(timing.rounds.values()))
    speeds = [
        ModelSpeed(
            name,
            *start_times[name],
            compute_percentiles(rounds),
            float(np.median(first_rounds / rounds)),
            (1.0, 1.0) if rounds is first_rounds else ratio_interval(first_rounds, rounds),
            _measure_throughput(sessions[name], feeds, batch, concurrency),
            measure_memory(loaded[name], feeds[0], config),
        )
        for name, rounds in timing.rounds.items()
    ]
    energy_report = measure_energy(loaded, sessions, feeds, find_timed_counter(next(iter(sessions.values())).provider), dims)
    warnings = list(samples.warnings)
    for name, model in loaded.items() if not config.is_cpu else ():  # from the CPU there is nothing to fall back
        node_times = measure_node_times(model, feeds, config, runs=1, warmup=1)
        if (fallback := describe_fallback(node_times.values(), config)) is not None:
            warnings.append(f"{name}: {fallback}")
    return Benchmark(speeds, timing, batch, samples.source, energy_report, warnings)


def benchmark_settings(
    models: Sequence[model_file.ModelLike],
    samples: Samples | None = None,
    *,
    threads: Sequence[int],
    batch_sizes: Sequence[int],
    config: SessionConfig | None = None,
    concurrency: int = 1,
    dims: Mapping[str, int] | None = None,
    seconds: float = 10.0,
    progress: Progress = ignore_progress,
) -> list[Benchmark]:
    """:func:`benchmark` at every number of ``threads`` and ``batch_sizes``, because what int8 gains changes with both.

    Returns:
        One for each setting, threads first; of models whose batch is fixed those of that batch alone.
    """
    found: dict[tuple[int, int], Benchmark] = {}
    for size in batch_sizes:
        for count in dict.fromkeys(threads):
            one = benchmark(
                models, samples, config=(config or SessionConfig()).with_(threads=count), batch_size=size,
                concurrency=concurrency, dims=dims, seconds=seconds, progress=progress,
            )  # fmt: skip
            if (one.batch, count) in found:  # the batch is fixed, so that every other number would do the same
                break
            found[one.batch, count] = one
    return list(found.values())


def _start_session(
    name: str, model: ir.Model, feeds: Sequence[InputArrays], config: SessionConfig
) -> tuple[TimedSession, tuple[float, float]]:
    """A session, and the milliseconds of its creation and of its first inference."""
    session = open_timed_session(model, config)
    if sorted(session.inputs) != sorted(feeds[0]):
        raise InvalidModelError(
            f"{name}: takes {', '.join(session.inputs)}, the first model {', '.join(feeds[0])}",
            hint="models that are timed together take the same inputs",
        )
    return session, (1e3 * session.create_seconds, 1e3 * session.time_run(feeds[0]))


def _measure_throughput(session: TimedSession, feeds: Sequence[InputArrays], batch: int, concurrency: int) -> dict[str, Any]:
    """Samples a second while ``concurrency`` threads share the session, and the processor time of one.

    The interval is that of the median over tenths of the time; None where too few inferences fit into one.
    """
    started = time.process_time()
    finish_times = count_inferences(session, feeds, concurrency=concurrency, seconds=_THROUGHPUT_SECONDS)
    processor_seconds = time.process_time() - started
    is_seen = session.provider.is_cpu and current_device() is None
    processor_ms = 1e3 * processor_seconds / (len(finish_times) * batch) if is_seen else None
    per_second = len(finish_times) * batch / float(finish_times.max())
    tenths, _ = np.histogram(finish_times, bins=10, range=(0, _THROUGHPUT_SECONDS))
    interval = None if tenths.min() < 3 else list(median_interval(tenths * batch * 10 / _THROUGHPUT_SECONDS))
    return {
        "per_second": per_second, "interval": interval, "concurrency": concurrency, "processor_ms": processor_ms
    }  # fmt: skip
