"""Families: units that are alike, so that the question is only how many of them, and which, may go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.channels.units import Analysis
from onnxslim.errors import UsageError
from onnxslim.graph.cost import NodeCost


@dataclass(frozen=True)
class Family:
    """Units that hold equally many slots in the same places: the channels of one tensor, as a rule.

    Attributes:
        name: The first node that makes them.
        units: int64 (n,), their numbers in the analysis.
        readers: position in :attr:`Analysis.consumers` -> int64 (n, k), the indices each unit holds there.
        writers: position in :attr:`Analysis.producers` -> int64 (n, k), the same.
        nodes: Names of all nodes whose constants shrink with them.
        first: Position in the graph of the first node that is another one without them: one of those, or one that is
            given their number (an Expand that makes a state of zeros).
    """

    name: str
    units: np.ndarray
    readers: Mapping[int, np.ndarray]
    writers: Mapping[int, np.ndarray]
    nodes: tuple[str, ...]
    first: int

    def __len__(self) -> int:
        return len(self.units)


def families(analysis: Analysis) -> list[Family]:
    """All units of ``analysis``, in families, in the order of their first unit."""
    groups: dict[bytes, list[int]] = {}
    slices = {kind: _slices(analysis, kind) for kind in ("sites", "consumers", "producers")}
    for unit in range(analysis.count):
        key = b"|".join(holders[unit].tobytes() for holders, _ in slices.values())
        groups.setdefault(key, []).append(unit)
    found = []
    counted = _counted(analysis)
    for units in groups.values():
        readers = _places(slices["consumers"], units)
        writers = _places(slices["producers"], units)
        sites = [analysis.sites[int(s)] for s in dict.fromkeys(slices["sites"][0][units[0]].tolist())]
        nodes = {site.name: site.node for site in sites}
        made = [analysis.producers[p].weight.name for p in writers]
        name = made[0] if made else next(iter(nodes), f"unit {units[0]}")
        first = min([*nodes.values(), int(counted[units].min())])
        found.append(Family(name, np.asarray(units), readers, writers, tuple(nodes), first))
    return found


def _counted(analysis: Analysis) -> np.ndarray:
    """For each unit the first node that is given its number or its place, in a size or an index: int64 (count,)."""
    first = np.full(analysis.count, np.iinfo(np.int64).max)
    held = [(size.node, [*size.counts.values(), *size.sources]) for size in analysis.sizes]
    held += [(remap.node, [remap.labels]) for remap in analysis.remaps]
    for node, labels in held:
        for position in labels:
            units = np.unique(analysis.labels[position])
            units = units[units >= 0]
            first[units] = np.minimum(first[units], node)
    return first


def eligible(
    found: Sequence[Family], costs: Mapping[str, NodeCost], exclude: Sequence[str], min_layer_params: int
) -> tuple[list[Family], dict[str, str]]:
    """The families that may be pruned, and for the others, by name, why not.

    Args:
        found: All families.
        costs: Of every layer by node name.
        exclude: Regular expressions, searched for in node names.
        min_layer_params: Layers with fewer parameters are left alone.

    Raises:
        UsageError: An expression that is none, or matches no node.
    """
    patterns = []
    for text in exclude:
        try:
            patterns.append(re.compile(text))
        except re.error as error:
            raise UsageError(f"--exclude {text}: not a regular expression ({error})") from error
        names = [*costs, *(node for family in found for node in family.nodes)]
        if not any(patterns[-1].search(name) for name in names):
            raise UsageError(f"--exclude {text}: matches no node", hint="`onnxslim inspect --channels` names them")
    chosen, declined = [], {}
    for family in found:
        hit = next((name for name in family.nodes for p in patterns if p.search(name)), None)
        small = next((n for n in family.nodes if n in costs and costs[n].params < min_layer_params), None)
        if hit is not None:
            declined[family.name] = f"excluded: {hit}"
        elif small is not None:
            declined[family.name] = f"{small} has {costs[small].params} parameters, below --min-layer-params"
        else:
            chosen.append(family)
    return chosen, declined


def _slices(analysis: Analysis, kind: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per unit: who holds it, sorted, and at which index."""
    units, holders, indices = analysis.incidence(kind)
    order = np.lexsort((indices, holders, units))
    cuts = np.searchsorted(units[order], np.arange(1, analysis.count))
    return np.split(holders[order], cuts), np.split(indices[order], cuts)


def _places(slices: tuple[list[np.ndarray], list[np.ndarray]], units: Sequence[int]) -> dict[int, np.ndarray]:
    holders, indices = slices
    own = holders[units[0]]
    table = np.stack([indices[unit] for unit in units])
    return {int(holder): table[:, own == holder] for holder in dict.fromkeys(own.tolist())}
