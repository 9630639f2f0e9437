"""``analyze_channels(model)``: from a model to its channel units."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from onnxslim.channels.analysis import label_table as records
from onnxslim.channels.analysis.collect import trace_slots
from onnxslim.channels.analysis.label_table import LabelTable
from onnxslim.channels.analysis.layer_reach import count_macs, find_layers, find_mac_axes
from onnxslim.channels.analysis.savings import compute_savings
from onnxslim.channels.analysis.units import Analysis, Site
from onnxslim.channels.slots.solve import solve_units
from onnxslim.core.gc_pause import pause_gc
from onnxslim.graph import constants, shapes
from onnxslim.graph.cost import FLOAT_TYPES
from onnxslim.graph.traversal import name_nodes


@pause_gc()
def analyze_channels(model: ir.Model, *, lossy: bool = False, dims: Mapping[str, int] | None = None) -> Analysis:
    """The channel units of ``model``; see :class:`onnxslim.channels.analysis.units.Analysis`.

    Args:
        model: Read only. Constants should have been folded (``simplify``); what has not been is pinned, not broken.
        lossy: Also units that a normalisation averages over (LayerNorm …), whose removal is not exact.
        dims: Sizes of free dimensions, for the MACs.
    """
    copy = model.clone()
    name_nodes(copy.graph)
    shapes.infer(copy)
    collected = trace_slots(copy, lossy)
    trace = collected.trace
    table = LabelTable(collected, solve_units(trace.slot_count, trace.ties, trace.pins, trace.products))
    sites = records.find_sites(table)
    macs = count_macs(copy, dims)
    return Analysis(
        count=table.count,
        sites=list(sites.values()),
        sizes=list(records.find_sizes(table)),
        remaps=list(records.find_remaps(table)),
        tensor_labels=dict(records.find_tensor_labels(table)),
        producers=list(records.find_producers(table, sites)),
        consumers=list(records.find_consumers(table, sites)),
        unpinned_axes=table.unpinned_axes,
        pinned=list(records.find_pins(table)),
        layers=list(find_layers(table, copy.graph)),
        params=compute_savings(table.count, table.labels, _find_holding_tensors(copy, list(sites.values()))),
        macs=compute_savings(table.count, table.labels, [(macs.get(name, 0), axes) for name, axes in find_mac_axes(table)]),
        labels=table.labels,
        lossy=lossy,
    )


def _find_holding_tensors(model: ir.Model, sites: Sequence[Site]) -> Iterator[tuple[float, list[int]]]:
    """(elements, labels of its axes) of every float constant that holds units; one that is shared counts once."""
    nodes = list(model.graph)
    sites_by_input: dict[tuple[int, int], list[Site]] = {}
    for site in sites:
        sites_by_input.setdefault((site.node, site.input), []).append(site)
    seen: set[tuple[str, tuple[tuple[int, int], ...]]] = set()
    for (position, i), input_sites in sites_by_input.items():
        key = input_sites[0].tensor, tuple((site.axis, site.labels) for site in input_sites)
        tensor = constants.get_const_tensor(nodes[position].inputs[i])
        if key not in seen and tensor is not None and tensor.dtype in FLOAT_TYPES:
            seen.add(key)
            yield tensor.size, [site.labels for site in input_sites]
