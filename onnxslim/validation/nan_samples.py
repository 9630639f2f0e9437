"""Samples that are NaN in the original, judged in batches of a model whose dynamic int8 takes one range of a batch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from onnxslim.graph.quantized import takes_ranges_of_runs
from onnxslim.validation.evaluation_accumulator import OutputValues


class NanSamples:
    """Counts the samples of an original that hold NaN, in batches with others, where one of ``models`` lets it reach those.

    Args:
        models: By the caller's names.
    """

    def __init__(self, models: Mapping[str, ir.Model]) -> None:
        self._names = [name for name, model in models.items() if takes_ranges_of_runs(model)]
        self._count = self._largest = 0

    def add(self, outputs: OutputValues | None, n: int) -> None:
        """Take in what the original gives out for a batch of ``n`` samples; an output without a row each is passed over."""
        if n < 2 or not self._names:
            return
        is_nan = np.zeros(n, np.bool_)
        for value in (outputs or {}).values():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and value.ndim and len(value) == n:
                is_nan |= np.isnan(value.reshape(n, -1)).any(axis=1)
        if is_nan.any():
            self._count += int(is_nan.sum())
            self._largest = max(self._largest, n)

    def find_warnings(self, name: str) -> list[str]:
        """A line on the model called ``name``, or none."""
        if not self._count or name not in self._names:
            return []
        samples = "1 sample is" if self._count == 1 else f"{self._count} samples are"
        return [
            f"{samples} NaN in the original, and judged in batches of up to {self._largest}: dynamic int8 takes one range "
            "of a whole batch, so that the others beside such a sample may lose their answers, here and in service"
        ]
