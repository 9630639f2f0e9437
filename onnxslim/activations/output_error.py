"""How far outputs are from a reference's, a: relative squared error Σ (a - b)² / Σ a², whose inverse is the SQNR."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeGuard, TypeVar

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_parts import find_output_parts
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig

T = TypeVar("T")


def to_decibels(ratio: float) -> float:
    """10·log10 of a ratio of energies, -inf of 0; an SQNR is the negative of what this makes of a relative squared error."""
    return 10 * math.log10(ratio) if ratio else -math.inf


def compute_sqnr_db(signal: float, noise: float) -> float:
    """SQNR of two energies in dB: infinite without noise, -inf without signal or where the noise is not finite."""
    if noise == 0:
        return math.inf
    return to_decibels(signal / noise) if math.isfinite(noise) else -math.inf


def relative_error(noise: float, signal: float) -> float:
    """noise / signal of two energies; a silent signal counts as 1e-30."""
    return noise / max(signal, 1e-30)


def energy(array: np.ndarray) -> float:
    """Σ a² of what is finite, in float64: an infinity is no measure that an error could be held against."""
    total = float(np.square(array, dtype=np.float64).sum())
    if not math.isfinite(total):
        total = float(np.square(array[np.isfinite(array)], dtype=np.float64).sum())
    return total


def squared_error(a: np.ndarray, b: np.ndarray) -> float:
    """Σ (a - b)², in float64: infinite where one is not finite and the other is not the same."""
    total = float(np.square(difference(a, b)).sum())
    return math.inf if math.isnan(total) else total


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a - b`` in float64, with no difference where both hold the same infinity or both NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        delta = np.asarray(np.subtract(a, b, dtype=np.float64))
    if not np.isfinite(delta).all():
        delta[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return delta


def is_float(array: object) -> TypeGuard[np.ndarray]:
    """Whether a model's output is a float tensor; one may be no tensor at all."""
    return isinstance(array, np.ndarray) and array.dtype.kind == "f"


#: Bytes of reference outputs that are kept, whatever the machine has: what is compared decides.
MAX_REFERENCE_BYTES = 64_000_000


class SizedFeeds(Protocol):
    """Feeds that can be counted, and iterated anew."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]: ...


@dataclass(frozen=True)
class _KeptValues:
    """One output of one sample: its shape, and each ``stride``-th of its values."""

    shape: tuple[int, ...]
    stride: int
    values: np.ndarray


class ReferenceOutputs:
    """The float model's outputs on some samples, kept to measure candidates against.

    Of large outputs only every k-th value is kept, and compared, so that they fill :data:`MAX_REFERENCE_BYTES` at most.

    Args:
        model: The float model.
        feeds: Single samples; they are iterated anew for every candidate.
        config: Where to run.
    """

    def __init__(self, model: ir.Model, feeds: SizedFeeds, config: SessionConfig) -> None:
        self._feeds, self._config = feeds, config
        output_parts = {str(value.name): find_output_parts(value) for value in model.graph.outputs}
        self._parts = {name: joined for name, joined in output_parts.items() if joined is not None}
        self._reference = list(self._run(model, self._keep))
        self._energy: dict[str, float] = {}
        for sample in self._reference:
            for name, kept in sample.items():
                self._energy[name] = self._energy.get(name, 0.0) + energy(kept.values)

    def error(self, model: ir.Model | SessionPool, extra_inputs: Mapping[str, np.ndarray] | None = None) -> float:
        """:meth:`errors` summed: each output, or part of one, weighs the same."""
        return sum(self.errors(model, extra_inputs).values())

    def errors(
        self, model: ir.Model | SessionPool, extra_inputs: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, float]:
        """‖a − b‖² / ‖a‖² of each float output, by name, and of each part of one that is joined (:mod:`.output_parts`).

        Outputs whose shape depends on the data count as wholly wrong where the shapes differ.

        Args:
            model: A candidate, or sessions of it.
            extra_inputs: Inputs that the float model does not have.
        """
        noise: dict[str, float] = {}
        for sample in self._run(model, self._measure_noise, extra_inputs):
            for name, value in sample.items():
                noise[name] = noise.get(name, 0.0) + value
        return {name: relative_error(value, self._energy[name]) for name, value in noise.items()}

    def merge_parts(self, errors: Mapping[str, float]) -> dict[str, float]:
        """What :meth:`errors` of the parts come to for each output, by name."""
        output_of_part = {part: name for name, joined in self._parts.items() for part in joined.name_parts(name)}
        noise: dict[str, float] = {}
        signal: dict[str, float] = {}
        for part, error in errors.items():
            name = output_of_part.get(part, part)
            lost = error * self._energy[part] if math.isfinite(error) else math.inf  # of a silent part, too
            noise[name] = noise.get(name, 0.0) + lost
            signal[name] = signal.get(name, 0.0) + self._energy[part]
        return {name: relative_error(total, signal[name]) for name, total in noise.items()}

    def _run(
        self,
        model: ir.Model | SessionPool,
        reduce: Callable[[int, dict[str, np.ndarray]], T],
        extra_inputs: Mapping[str, np.ndarray] | None = None,
    ) -> Iterator[T]:
        """What ``reduce`` makes of each sample's number and float outputs, or parts of them, by name."""

        def reduce_floats(index: int, outputs: dict[str, np.ndarray]) -> T:
            pieces: dict[str, np.ndarray] = {}
            for name, array in outputs.items():
                if is_float(array):
                    joined = self._parts.get(name)
                    pieces |= (
                        {name: array}
                        if joined is None
                        else dict(zip(joined.name_parts(name), joined.split(array), strict=True))
                    )
            return reduce(index, pieces)

        pool = model if isinstance(model, SessionPool) else SessionPool(model, self._config)
        return pool.run(({**feed, **(extra_inputs or {})} for feed in self._feeds), reduce_floats)

    def _keep(self, index: int, outputs: dict[str, np.ndarray]) -> dict[str, _KeptValues]:
        # copies: the runtime's own outputs would keep the whole blocks of memory they were cut from
        sample_bytes = sum(array.nbytes for array in outputs.values())
        stride = max(1, math.ceil(sample_bytes * len(self._feeds) / MAX_REFERENCE_BYTES))
        stride += 1 - stride % 2  # odd, so that every column of an image is visited
        return {
            name: _KeptValues(array.shape, stride, array.reshape(-1)[::stride].copy()) for name, array in outputs.items()
        }

    def _measure_noise(self, index: int, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        noise = {}
        for name, array in outputs.items():
            kept = self._reference[index][name]
            is_like = array.shape == kept.shape
            noise[name] = squared_error(kept.values, array.reshape(-1)[:: kept.stride]) if is_like else energy(kept.values)
        return noise
