"""How far an output has moved from the original's: SQNR, cosine and KL, streamed in constant memory.

SQNR = 10·log10(Σ a² / Σ (a - b)²), a the original's output, over all samples. Cosine is that of the same two long
vectors. KL is the mean over samples of KL(original ‖ result) in nats, of probabilities (softmax of scores).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from onnxslim.activations.output_error import compute_sqnr_db, difference
from onnxslim.core.converter import JSON
from onnxslim.validation.metrics.classification import are_probabilities, to_log_probabilities


@dataclass
class OutputFidelity:
    """Running sums of one output of two models; :meth:`add` a batch at a time.

    Attributes:
        shape_mismatches: Batches whose two outputs differ in shape (a detector's box count): nothing there can be
            subtracted.
        nonfinite_elements: Elements that are not finite in the result and are in the original.
    """

    signal_energy: float = 0.0
    noise_energy: float = 0.0
    result_energy: float = 0.0
    dot_product: float = 0.0
    kl: float = 0.0
    kl_samples: int = 0
    elements: int = 0
    equal_elements: int = 0
    shape_mismatches: int = 0
    nonfinite_elements: int = 0
    is_float: bool = True
    _probabilities: bool | None = field(default=None, repr=False)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Take in one batch: ``a`` of the original, ``b`` of the result."""
        if a.shape != b.shape:
            self.shape_mismatches += 1
            return
        self.is_float = a.dtype.kind == "f"
        self.elements += a.size
        if not self.is_float:
            self.equal_elements += int(np.count_nonzero(a == b))
            return
        delta = difference(a, b).ravel()
        x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
        finite = np.isfinite(x)
        if not finite.all() or not np.isfinite(y).all():
            self.nonfinite_elements += int(np.count_nonzero(finite & ~np.isfinite(y)))
            both = finite & np.isfinite(y)
            delta, x, y = delta[both], x[both], y[both]
        # einsum, not a BLAS dot: its order of summation does not depend on the number of threads.
        self.signal_energy += float(np.einsum("i,i->", x, x))
        self.result_energy += float(np.einsum("i,i->", y, y))
        self.dot_product += float(np.einsum("i,i->", x, y))
        self.noise_energy += float(np.einsum("i,i->", delta, delta))
        if a.ndim == 2 and a.shape[1] > 1:
            self._add_kl(a, b)

    def _add_kl(self, a: np.ndarray, b: np.ndarray) -> None:
        if self._probabilities is None:
            self._probabilities = are_probabilities(a)
        known = ~np.isnan(a).any(axis=1)  # the divergence from what says nothing is not defined
        a, b = a[known], b[known]
        p, q = (to_log_probabilities(values, self._probabilities) for values in (a, b))
        with np.errstate(invalid="ignore", over="ignore"):
            divergence = (np.exp(p) * (p - q)).sum(axis=1)
        self.kl += float(np.maximum(divergence, 0).sum())
        self.kl_samples += len(a)

    @property
    def sqnr_db(self) -> float:
        """In decibels: inf when equal, -inf when the result is not finite where the original is, NaN if no float."""
        if not self.is_float or not self.elements:
            return math.nan
        return -math.inf if self.nonfinite_elements else compute_sqnr_db(self.signal_energy, self.noise_energy)

    @property
    def cosine(self) -> float:
        """Of the two outputs as long vectors; NaN where one of them is zero or not a float."""
        length = math.sqrt(self.signal_energy) * math.sqrt(self.result_energy)
        is_defined = self.is_float and length > 0 and not self.nonfinite_elements
        return min(1.0, self.dot_product / length) if is_defined else math.nan

    def warnings(self, name: str) -> list[str]:
        """One line for each thing that kept output ``name`` from being compared in full."""
        batches, elements = self.shape_mismatches, self.nonfinite_elements
        lines = {
            f"output {name} has another shape than the original's in {batches} batches: not compared": batches,
            f"output {name} holds {elements} elements that are not finite where the original's are": elements,
        }
        return [line for line, count in lines.items() if count]

    def as_json(self) -> dict[str, Any]:
        """The contract's entry; null stands for "not defined here" and, with ``equal_elements`` true, for an infinite
        SQNR.
        """
        is_equal = (
            self.noise_energy == 0 and not self.nonfinite_elements if self.is_float else self.equal_elements == self.elements
        )
        entry: dict[str, Any] = {
            "sqnr_db": self.sqnr_db,
            "cosine": self.cosine,
            "kl": self.kl / self.kl_samples if self.kl_samples else None,
            "equal": is_equal and self.elements > 0 and not self.shape_mismatches,
        }
        if not self.is_float and self.elements:
            entry["agreement"] = self.equal_elements / self.elements
        if self.nonfinite_elements:
            entry["not_finite"] = self.nonfinite_elements
        if self.shape_mismatches:
            entry["unpaired"] = self.shape_mismatches
        return dict(JSON.unstructure(entry))
