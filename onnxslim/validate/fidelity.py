"""How far an output has moved from the original's: SQNR, cosine and KL, streamed in constant memory.

SQNR = 10·log10(Σ a² / Σ (a - b)²), a the original's output, over all samples. Cosine is that of the same two long
vectors. KL is the mean over samples of KL(original ‖ result) in nats, of probabilities (softmax of scores).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import special


def decibels(signal: float, noise: float) -> float:
    """10·log10(signal / noise); infinite without noise."""
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 and math.isfinite(noise) else -math.inf


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a - b`` in float64, with no difference where both hold the same infinity or both NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        delta = a.astype(np.float64) - b.astype(np.float64)
    if not np.isfinite(delta).all():
        delta[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return delta


@dataclass
class Fidelity:
    """Running sums of one output of two models; :meth:`add` a batch at a time.

    Attributes:
        unpaired: Batches whose two outputs differ in shape (a detector's box count): nothing there can be subtracted.
        broken: Elements that are not finite in the result and are in the original.
    """

    signal: float = 0.0
    noise: float = 0.0
    other: float = 0.0
    product: float = 0.0
    kl: float = 0.0
    rows: int = 0
    elements: int = 0
    equal: int = 0
    unpaired: int = 0
    broken: int = 0
    real: bool = True
    _probabilities: bool | None = field(default=None, repr=False)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take in one batch: ``a`` of the original, ``b`` of the result."""
        if a.shape != b.shape:
            self.unpaired += 1
            return
        self.real = a.dtype.kind == "f"
        self.elements += a.size
        if not self.real:
            self.equal += int(np.count_nonzero(a == b))
            return
        delta = difference(a, b).ravel()
        x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        finite = np.isfinite(x)
        if not finite.all() or not np.isfinite(y).all():
            self.broken += int(np.count_nonzero(finite & ~np.isfinite(y)))
            both = finite & np.isfinite(y)
            delta, x, y = delta[both], x[both], y[both]
        # einsum, not a BLAS dot: its order of summation does not depend on the number of threads.
        self.signal += float(np.einsum("i,i->", x, x))
        self.other += float(np.einsum("i,i->", y, y))
        self.product += float(np.einsum("i,i->", x, y))
        self.noise += float(np.einsum("i,i->", delta, delta))
        if a.ndim == 2 and a.shape[1] > 1:
            self._add_kl(a, b)

    def _add_kl(self, a: np.ndarray, b: np.ndarray) -> None:
        if self._probabilities is None:
            self._probabilities = bool((a >= 0).all() and np.allclose(a.sum(axis=1), 1, atol=1e-2))
        p, q = (_log_probabilities(values, self._probabilities) for values in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            each = (np.exp(p) * (p - q)).sum(axis=1)
        self.kl += float(np.maximum(each, 0).sum())
        self.rows += len(a)

    @property
    def sqnr_db(self) -> float:
        """In decibels: inf when equal, -inf when the result is not finite where the original is, NaN if no float."""
        if not self.real or not self.elements:
            return math.nan
        return -math.inf if self.broken else decibels(self.signal, self.noise)

    @property
    def cosine(self) -> float:
        """Of the two outputs as long vectors; NaN where one of them is zero or not a float."""
        length = math.sqrt(self.signal) * math.sqrt(self.other)
        return min(1.0, self.product / length) if self.real and length > 0 and not self.broken else math.nan

    def warnings(self, name: str) -> list[str]:
        """One line for each thing that kept output ``name`` from being compared in full."""
        lines = []
        if self.unpaired:
            lines.append(
                f"output {name} has another shape than the original's in {self.unpaired} batches: not compared"
            )
        if self.broken:
            lines.append(f"output {name} holds {self.broken} elements that are not finite where the original's are")
        return lines

    def as_json(self) -> dict[str, Any]:
        """The contract's entry; null stands for "not defined here" and, with ``equal`` true, for an infinite SQNR."""
        same = self.noise == 0 and not self.broken if self.real else self.equal == self.elements
        entry: dict[str, Any] = {
            "sqnr_db": _finite(self.sqnr_db),
            "cosine": _finite(self.cosine),
            "kl": _finite(self.kl / self.rows) if self.rows else None,
            "equal": same and self.elements > 0 and not self.unpaired,
        }
        if not self.real and self.elements:
            entry["agreement"] = self.equal / self.elements
        if self.broken:
            entry["not_finite"] = self.broken
        if self.unpaired:
            entry["unpaired"] = self.unpaired
        return entry


def _log_probabilities(values: np.ndarray, already: bool) -> np.ndarray:
    values = values.astype(np.float64)
    if not already:
        return np.asarray(special.log_softmax(values, axis=1))
    # A quantised softmax says exactly 0 where the original says 1e-9: that is its resolution, not an infinite surprise.
    floored = np.maximum(values, 1e-9)
    return np.asarray(np.log(floored / floored.sum(axis=1, keepdims=True)))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
