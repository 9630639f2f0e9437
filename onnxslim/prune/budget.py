"""Budgets: what is counted, how much of it has to go, and how much a removal really saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.channels.units import Analysis
from onnxslim.errors import UsageError
from onnxslim.graph.cost import cost
from onnxslim.prune.options import PruneOptions


@dataclass(frozen=True)
class Budget:
    """How much of something a model may have.

    Attributes:
        name: What is counted, for messages.
        allowed: How much the model may have when it is done.
        measure: A model -> how much it has.
        savings: Units of an analysis -> what each saves alone, float64 (count,).
    """

    name: str
    allowed: float
    measure: Callable[[ir.Model], float]
    savings: Callable[[Analysis], np.ndarray]


def budget_of(options: PruneOptions, original: ir.Model, progress: float = 1.0) -> Budget | None:
    """The budget that ``options`` give, or None where they name a threshold or a redundancy instead.

    Args:
        options: Of the step.
        original: The model they speak of.
        progress: In (0, 1]: which share of the way to the budget this round goes.

    Raises:
        UsageError: A size that the model already has.
    """
    if options.threshold is not None or options.redundancy is not None:
        return None
    if options.max_size is not None:
        size = len(io.to_bytes(original))
        if size <= options.max_size:
            raise UsageError(f"--max-size {options.max_size}: the model already has {size} bytes")
        return Budget("bytes", size - progress * (size - options.max_size), _bytes, _bytes_saved)
    counts = COUNTS[options.of]
    total = counts[0](original)
    return Budget(options.of, total * (1 - progress * options.share), *counts)


def _params(model: ir.Model) -> float:
    return float(cost(model).params)


def _macs(model: ir.Model) -> float:
    return float(cost(model).macs)


def _bytes(model: ir.Model) -> float:
    return float(len(io.to_bytes(model)))


def _params_saved(analysis: Analysis) -> np.ndarray:
    return analysis.params.astype(np.float64)


def _macs_saved(analysis: Analysis) -> np.ndarray:
    return analysis.macs.astype(np.float64)


def _bytes_saved(analysis: Analysis) -> np.ndarray:
    return 4.0 * analysis.params


#: what --of names -> (how much a model has of it, what each unit saves)
COUNTS: dict[str, tuple[Callable[[ir.Model], float], Callable[[Analysis], np.ndarray]]] = {
    "params": (_params, _params_saved),
    "macs": (_macs, _macs_saved),
}
