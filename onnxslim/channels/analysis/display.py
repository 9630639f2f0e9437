"""An analysis as plain data, for ``onnxslim inspect --channels`` and for reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from onnxslim.channels.analysis.units import Analysis


def group_units(analysis: Analysis) -> list[list[int]]:
    """The units of ``analysis``, those that lie on the same axes of the same constants together, in the graph's order."""
    units, holders, _ = analysis.incidence("sites")
    members: dict[bytes, list[int]] = {}
    starts = np.searchsorted(units, np.arange(analysis.count + 1))
    for unit in range(analysis.count):
        unit_sites = np.unique(holders[starts[unit] : starts[unit + 1]])
        members.setdefault(unit_sites.tobytes(), []).append(unit)
    return list(members.values())


def describe(analysis: Analysis, seconds: Sequence[float] | None = None) -> dict[str, Any]:
    """What lives together, what it would save, and what is pinned and why; JSON-serialisable.

    ``group_units`` are those of :func:`group_units`: how many units there are (``units``), the nodes that make and read
    them, and what one of them and all of them would save; ``seconds_half``, where ``seconds`` gives it for each group,
    is what an inference saves when half of them go. ``pinned`` are reasons, those first that hold most channels;
    ``layers`` is every layer.
    """
    unit_groups = group_units(analysis)
    times = [None] * len(unit_groups) if seconds is None else list(seconds)
    return {
        "units": analysis.count,
        "reach": analysis.prunable_share,
        "groups": [_describe_group(analysis, group, time) for group, time in zip(unit_groups, times, strict=True)],
        "pinned": _describe_pins(analysis),
        "layers": [asdict(layer) for layer in analysis.layers],
    }


def _describe_group(analysis: Analysis, group: list[int], seconds: float | None) -> dict[str, Any]:
    first = group[0]
    return {
        "units": len(group),
        "made_by": list(dict.fromkeys(producer.weight.name for producer, _ in analysis.producers_of(first))),
        "read_by": list(dict.fromkeys(consumer.name for consumer, _ in analysis.consumers_of(first))),
        "params_each": int(analysis.params[first]),
        "macs_each": int(analysis.macs[first]),
        "params": int(analysis.params[group].sum()),
        "macs": int(analysis.macs[group].sum()),
        "seconds_half": seconds,
    }


def _describe_pins(analysis: Analysis) -> list[dict[str, Any]]:
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for pin in analysis.pinned:
        entry = entries.setdefault(
            (pin.reason, pin.node), {"reason": pin.reason, "node": pin.node, "channels": 0, "tensors": []}
        )
        entry["channels"] += pin.slots
        entry["tensors"].append(pin.tensor)
    return sorted(entries.values(), key=lambda entry: -int(entry["channels"]))
