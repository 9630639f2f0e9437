"""The energy of an inference: measured where something counts it, else said not to be, with an estimate called one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph.energy import estimate
from onnxslim.runtime.energy import NOT_HERE, Counter, per_inference
from onnxslim.runtime.session import Session
from onnxslim.validate.statistics import ratio_interval


def energy(
    models: Mapping[str, ir.Model],
    sessions: Mapping[str, Session],
    feeds: Sequence[Mapping[str, np.ndarray]],
    counted: Counter | None,
    dims: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """The contract's ``energy``: millijoules of an inference by the models' names, and its share of the first one's.

    Without a counter there is only ``relative_estimate``: what the second model should take for each joule of the first
    (by name where there are several), from arithmetic and memory traffic; no gate reads it.

    Args:
        models: The first one is what others are compared with.
        sessions: By the same names.
        feeds: What they are fed with.
        counted: What counts joules, or None.
        dims: Sizes of free dimensions, for the estimate.
    """
    base, *others = models
    if counted is None:
        cost = {name: estimate(model, dims).total for name, model in models.items()}
        ratios = {name: cost[name] / cost[base] for name in others if cost[base] > 0}
        told: Any = next(iter(ratios.values())) if len(ratios) == 1 else ratios
        return {"source": NOT_HERE, **({"relative_estimate": told} if ratios else {})}
    rounds = per_inference(sessions, feeds, counted)
    found: dict[str, Any] = {"source": counted.source}
    for name, joules in rounds.items():
        found[name] = {"millijoules": 1e3 * float(np.median(joules))}
        if name != base and (rounds[base] > 0).all() and (joules > 0).all():
            found[name]["relative"] = float(np.median(joules / rounds[base]))
            found[name]["interval"] = list(ratio_interval(joules, rounds[base]))
    return found
