"""The energy of an inference: measured where something counts it, else said not to be, with an estimate called one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.runtime.devices.device import TimedSession
from onnxslim.runtime.energy.energy_counter import NOT_MEASURABLE, EnergyCounter, measure_per_inference
from onnxslim.validation.energy_estimate import estimate_energy
from onnxslim.validation.statistics import ratio_interval


def measure_energy(
    models: Mapping[str, ir.Model],
    sessions: Mapping[str, TimedSession],
    feeds: Sequence[Mapping[str, np.ndarray]],
    counter: EnergyCounter | None,
    dims: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The contract's ``energy``: millijoules of an inference by the models' names, and its share of the first one's.

    Without a counter, or with one that fails meanwhile, there is only ``relative_estimate``: what the second model should
    take for each joule of the first (by name where there are several), from arithmetic and memory traffic; no gate reads it.

    ``models`` and ``sessions`` have the same names, the first one is what others are compared with; ``dims`` are the sizes
    of free dimensions, for the estimate.
    """
    base, *others = models
    rounds = {} if counter is None else measure_per_inference(sessions, feeds, counter)
    if counter is None or not all(np.isfinite(joules).all() for joules in rounds.values()):
        cost = {name: estimate_energy(model, dims).total for name, model in models.items()}
        ratios = {name: cost[name] / cost[base] for name in others if cost[base] > 0}
        estimate_ratio: Any = next(iter(ratios.values())) if len(ratios) == 1 else ratios
        return {"source": NOT_MEASURABLE, **({"relative_estimate": estimate_ratio} if ratios else {})}
    entry: dict[str, Any] = {"source": counter.source}
    for name, joules in rounds.items():
        entry[name] = {"millijoules": 1e3 * float(np.median(joules))}
        if name != base and (rounds[base] > 0).all() and (joules > 0).all():
            entry[name]["relative"] = float(np.median(joules / rounds[base]))
            entry[name]["interval"] = list(ratio_interval(joules, rounds[base]))
    return entry
