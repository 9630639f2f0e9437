"""An analysis as plain data, for ``onnxslim inspect --channels`` and for reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np

from onnxslim.channels.units import Analysis


def describe(analysis: Analysis) -> dict[str, Any]:
    """What lives together, what it would save, and what is pinned and why; JSON-serialisable.

    ``groups`` are units that lie on the same axes of the same constants, in the order of the graph: how many there are
    (``units``), the nodes that make and read them, and what one of them and all of them would save. ``pinned`` are
    reasons, those first that hold most channels; ``layers`` is every layer.
    """
    return {
        "units": analysis.count,
        "reach": analysis.reach,
        "groups": list(_groups(analysis)),
        "pinned": _pinned(analysis),
        "layers": [asdict(layer) for layer in analysis.layers],
    }


def _groups(analysis: Analysis) -> Iterator[dict[str, Any]]:
    units, holders, _ = analysis.incidence("sites")
    members: dict[bytes, list[int]] = {}
    starts = np.searchsorted(units, np.arange(analysis.count + 1))
    for unit in range(analysis.count):
        where = np.unique(holders[starts[unit] : starts[unit + 1]])
        members.setdefault(where.tobytes(), []).append(unit)
    for group in members.values():
        first = analysis.unit(group[0])
        yield {
            "units": len(group),
            "made_by": first.producers,
            "read_by": first.consumers,
            "params_each": first.params,
            "macs_each": first.macs,
            "params": int(analysis.params[group].sum()),
            "macs": int(analysis.macs[group].sum()),
        }


def _pinned(analysis: Analysis) -> list[dict[str, Any]]:
    held: dict[tuple[str, str], dict[str, Any]] = {}
    for pin in analysis.pinned:
        entry = held.setdefault(
            (pin.reason, pin.node), {"reason": pin.reason, "node": pin.node, "channels": 0, "tensors": []}
        )
        entry["channels"] += pin.slots
        entry["tensors"].append(pin.tensor)
    return sorted(held.values(), key=lambda entry: -int(entry["channels"]))
