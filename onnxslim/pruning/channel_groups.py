"""Families: units that are alike, so that the question is only how many of them, and which, may go."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxslim.channels.analysis.units import Analysis
from onnxslim.core.errors import UsageError
from onnxslim.graph.cost import NodeCost


@dataclass(frozen=True)
class ChannelGroup:
    """Units that hold equally many slots in the same places: the channels of one tensor, as a rule.

    Texts and reports call it a *family*.

    Attributes:
        name: The first node that makes them.
        units: int64 (n,), their numbers in the analysis.
        readers: position in :attr:`Analysis.consumers` -> int64 (n, k), the indices each unit holds there.
        writers: position in :attr:`Analysis.producers` -> int64 (n, k), the same.
        nodes: Names of all nodes whose constants shrink with them.
        first_node: Position in the graph of the first node that is another one without them: one of those, or one that is
            given their number (an Expand that makes a state of zeros).
    """

    name: str
    units: np.ndarray
    readers: Mapping[int, np.ndarray]
    writers: Mapping[int, np.ndarray]
    nodes: tuple[str, ...]
    first_node: int

    def __len__(self) -> int:
        return len(self.units)


def find_channel_groups(analysis: Analysis) -> list[ChannelGroup]:
    """All units of ``analysis``, in families, in the order of their first unit."""
    units_by_key: dict[bytes, list[int]] = {}
    slices = {kind: _slices_by_unit(analysis, kind) for kind in ("sites", "consumers", "producers")}
    for unit in range(analysis.count):
        key = b"|".join(holders[unit].tobytes() for holders, _ in slices.values())
        units_by_key.setdefault(key, []).append(unit)
    channel_groups = []
    counting_nodes = _first_counting_nodes(analysis)
    for units in units_by_key.values():
        readers = _slot_table(slices["consumers"], units)
        writers = _slot_table(slices["producers"], units)
        sites = [analysis.sites[int(s)] for s in dict.fromkeys(slices["sites"][0][units[0]].tolist())]
        nodes = {site.name: site.node for site in sites}
        producer_names = [analysis.producers[p].weight.name for p in writers]
        name = producer_names[0] if producer_names else next(iter(nodes), f"unit {units[0]}")
        first_node = min([*nodes.values(), int(counting_nodes[units].min())])
        channel_groups.append(ChannelGroup(name, np.asarray(units), readers, writers, tuple(nodes), first_node))
    return channel_groups


def _first_counting_nodes(analysis: Analysis) -> np.ndarray:
    """For each unit the first node that is given its number or its place, in a size or an index: int64 (count,)."""
    first_nodes = np.full(analysis.count, np.iinfo(np.int64).max)
    label_uses = [(size.node, [*size.counts.values(), *size.sources]) for size in analysis.sizes]
    label_uses += [(remap.node, [remap.labels]) for remap in analysis.remaps]
    for node, labels in label_uses:
        for position in labels:
            units = np.unique(analysis.labels[position])
            units = units[units >= 0]
            first_nodes[units] = np.minimum(first_nodes[units], node)
    return first_nodes


def compile_excluded(exclude: Sequence[str]) -> list[re.Pattern[str]]:
    """The expressions of ``--exclude``, to be searched for in node names.

    Raises:
        UsageError: One is no regular expression.
    """
    patterns = []
    for text in exclude:
        try:
            patterns.append(re.compile(text))
        except re.error as error:
            raise UsageError(f"--exclude {text}: not a regular expression ({error})") from error
    return patterns


def select_eligible(
    channel_groups: Sequence[ChannelGroup], costs: Mapping[str, NodeCost], exclude: Sequence[str], min_layer_params: int
) -> tuple[list[ChannelGroup], dict[str, str]]:
    """The families that may be pruned, and for the others, by name, why not.

    Args:
        channel_groups: All families.
        costs: Of every layer by node name.
        exclude: Regular expressions, searched for in node names.
        min_layer_params: Layers with fewer parameters are left alone.

    Raises:
        UsageError: An expression that is none, or matches no node.
    """
    patterns = compile_excluded(exclude)
    names = [*costs, *(node for group in channel_groups for node in group.nodes)]
    for text, pattern in zip(exclude, patterns, strict=True):
        if not any(pattern.search(name) for name in names):
            raise UsageError(f"--exclude {text}: matches no node", hint="`onnxslim inspect --channels` names them")
    eligible_groups, skipped = [], {}
    for group in channel_groups:
        excluded_node = next((name for name in group.nodes for p in patterns if p.search(name)), None)
        small_node = next((n for n in group.nodes if n in costs and costs[n].params < min_layer_params), None)
        if excluded_node is not None:
            skipped[group.name] = f"excluded: {excluded_node}"
        elif small_node is not None:
            skipped[group.name] = f"{small_node} has {costs[small_node].params} parameters, below --min-layer-params"
        else:
            eligible_groups.append(group)
    return eligible_groups, skipped


def _slices_by_unit(analysis: Analysis, kind: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Per unit: who holds it, sorted, and at which index."""
    units, holders, indices = analysis.incidence(kind)
    order = np.lexsort((indices, holders, units))
    cuts = np.searchsorted(units[order], np.arange(1, analysis.count))
    return np.split(holders[order], cuts), np.split(indices[order], cuts)


def _slot_table(slices: tuple[list[np.ndarray], list[np.ndarray]], units: Sequence[int]) -> dict[int, np.ndarray]:
    holders, indices = slices
    unit_holders = holders[units[0]]
    table = np.stack([indices[unit] for unit in units])
    return {int(holder): table[:, unit_holders == holder] for holder in dict.fromkeys(unit_holders.tolist())}
