"""What a quantize step runs with: data, place, deadline, and who judges the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.activations.run_context import RunContext


@dataclass(frozen=True)
class DropOverLimit:
    """How many times what is allowed a model's outputs drop, on data that nothing is fitted to.

    Attributes:
        counted: With what is allowed for few samples: what a choice goes by.
        least: The least that the samples leave possible, by their 95 % interval: above 1 they refuse the model.
    """

    counted: float
    least: float

    def at_least(self, excess: float) -> DropOverLimit:
        """The same where what is known for certain is ``excess`` times what is allowed."""
        return DropOverLimit(max(self.counted, excess), max(self.least, excess))


@dataclass(frozen=True)
class QuantizeContext(RunContext):
    """A run context with a judge.

    Attributes:
        drop_over_limit: Judges a model; None where nobody does but the SQNR on calibration samples.
    """

    drop_over_limit: Callable[[ir.Model], DropOverLimit] | None = None
