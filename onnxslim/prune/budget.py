"""Budgets: what is counted, how much of it has to go, and how much a removal really saves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.errors import UsageError
from onnxslim.graph.cost import cost
from onnxslim.prune.candidates import Candidates
from onnxslim.prune.factor import Option
from onnxslim.prune.latency import Clock
from onnxslim.prune.options import PruneOptions
from onnxslim.prune.select import Savings, amounts
from onnxslim.runtime.session import SessionConfig


@dataclass(frozen=True)
class Budget:
    """How much of something a model may have.

    Attributes:
        name: What is counted, for messages.
        allowed: How much the model may have when it is done.
        measure: A model -> how much it has.
        savings: What each candidate saves, and in which steps of kept channels (``round_to``) it may be cut.
        tolerance: A selection that saves this many times what was asked is good enough; measurements are no better.
        doubt: What to warn of once everything was measured, or None.
    """

    name: str
    allowed: float
    measure: Callable[[ir.Model], float]
    savings: Callable[[Candidates, str | int], Savings]
    tolerance: float = 1.003
    doubt: Callable[[], str | None] = lambda: None


def budget_of(
    options: PruneOptions, original: ir.Model, samples: Samples | None, config: SessionConfig, progress: float = 1.0
) -> Budget | None:
    """The budget that ``options`` give, or None where they name a threshold or a redundancy instead.

    Args:
        options: Of the step.
        original: The model they speak of.
        samples: What is run where time is measured.
        config: How it runs there.
        progress: In (0, 1]: which share of the way to the budget this round goes.

    Raises:
        UsageError: A size that the model already has; latency without data to measure on.
    """
    if options.threshold is not None or options.redundancy is not None:
        return None
    if options.max_size is not None:
        size = len(io.to_bytes(original))
        if size <= options.max_size:
            raise UsageError(f"--max-size {options.max_size}: the model already has {size} bytes")
        return Budget("bytes", size - progress * (size - options.max_size), _bytes, _bytes_saved)
    if options.of == "latency":
        if samples is None:
            raise UsageError("--of latency measures and needs data", hint="give --data")
        clock = Clock(original, samples, config)
        allowed = clock.seconds(original) * (1 - progress * options.share)
        return Budget("latency", allowed, clock.seconds, clock.savings, 1.03, clock.doubt)
    counts = COUNTS[options.of]
    total = counts[0](original)
    return Budget(options.of, total * (1 - progress * options.share), *counts)


def _added(
    found: Candidates, round_to: str | int, each: np.ndarray, blocks: list[float], forms: list[list[float]]
) -> Savings:
    """Savings of units that simply add up."""
    curves = []
    for curve in found.curves:
        gone = amounts(len(curve.family), round_to if isinstance(round_to, int) else 1)
        total = np.concatenate([[0.0], np.cumsum(each[curve.family.units[curve.order]], dtype=np.float64)])
        curves.append((gone, total[gone]))
    return Savings(curves, blocks, forms)


def _forms(found: Candidates, saving: Callable[[Option], float]) -> list[list[float]]:
    return [[float(saving(option)) for option in layer.options] for layer in found.factored]


def _params(model: ir.Model) -> float:
    return float(cost(model).params)


def _params_saved(found: Candidates, round_to: str | int) -> Savings:
    blocks = [float(block.params) for block in found.blocks]
    return _added(found, round_to, found.analysis.params, blocks, _forms(found, lambda option: option.params))


def _macs(model: ir.Model) -> float:
    return float(cost(model).macs)


def _macs_saved(found: Candidates, round_to: str | int) -> Savings:
    blocks = [float(block.macs) for block in found.blocks]
    return _added(found, round_to, found.analysis.macs, blocks, _forms(found, lambda option: option.macs))


def _bytes(model: ir.Model) -> float:
    return float(len(io.to_bytes(model)))


def _bytes_saved(found: Candidates, round_to: str | int) -> Savings:
    blocks = [4.0 * block.params for block in found.blocks]
    return _added(found, round_to, 4.0 * found.analysis.params, blocks, _forms(found, lambda option: 4 * option.params))


#: what --of names -> (how much a model has of it, what candidates save)
COUNTS: dict[str, tuple[Callable[[ir.Model], float], Callable[[Candidates, str | int], Savings]]] = {
    "params": (_params, _params_saved),
    "macs": (_macs, _macs_saved),
}
