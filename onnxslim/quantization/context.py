"""What a quantize step runs with: data, place, deadline, and who judges the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.activations.run_context import RunContext


@dataclass(frozen=True)
class QuantizeContext(RunContext):
    """A run context with a judge.

    Attributes:
        drop_over_limit: How many times what is allowed a model's outputs drop, on data that nothing is fitted to; None where
            nobody judges but the SQNR on calibration samples.
    """

    drop_over_limit: Callable[[ir.Model], float] | None = None
