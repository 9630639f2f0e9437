"""Budgets: what is counted, how much of it has to go, and how much a removal really saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.errors import UsageError
from onnxslim.graph.cost import cost
from onnxslim.prune.candidates import Candidates
from onnxslim.prune.options import PruneOptions


@dataclass(frozen=True)
class Savings:
    """What candidates save, each on its own.

    Attributes:
        curves: For each curve, float64 (units + 1,): what the first k units save together.
        blocks: For each block.
    """

    curves: list[np.ndarray]
    blocks: list[float]


@dataclass(frozen=True)
class Budget:
    """How much of something a model may have.

    Attributes:
        name: What is counted, for messages.
        allowed: How much the model may have when it is done.
        measure: A model -> how much it has.
        savings: What each candidate saves.
    """

    name: str
    allowed: float
    measure: Callable[[ir.Model], float]
    savings: Callable[[Candidates], Savings]


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


def _added(found: Candidates, each: np.ndarray, blocks: list[float]) -> Savings:
    """Savings of units that simply add up."""
    sums = [np.cumsum(each[curve.family.units[curve.order]], dtype=np.float64) for curve in found.curves]
    return Savings([np.concatenate([[0.0], total]) for total in sums], blocks)


def _params(model: ir.Model) -> float:
    return float(cost(model).params)


def _params_saved(found: Candidates) -> Savings:
    return _added(found, found.analysis.params, [float(block.params) for block in found.blocks])


def _macs(model: ir.Model) -> float:
    return float(cost(model).macs)


def _macs_saved(found: Candidates) -> Savings:
    return _added(found, found.analysis.macs, [float(block.macs) for block in found.blocks])


def _bytes(model: ir.Model) -> float:
    return float(len(io.to_bytes(model)))


def _bytes_saved(found: Candidates) -> Savings:
    return _added(found, 4.0 * found.analysis.params, [4.0 * block.params for block in found.blocks])


#: what --of names -> (how much a model has of it, what candidates save)
COUNTS: dict[str, tuple[Callable[[ir.Model], float], Callable[[Candidates], Savings]]] = {
    "params": (_params, _params_saved),
    "macs": (_macs, _macs_saved),
}
