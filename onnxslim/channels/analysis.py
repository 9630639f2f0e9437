"""``units(model)``: from a model to its channel units."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import onnx_ir as ir

from onnxslim.channels import book as records
from onnxslim.channels.book import Book
from onnxslim.channels.collect import collect
from onnxslim.channels.layers import layers, multiplications, name_nodes, works
from onnxslim.channels.savings import saved
from onnxslim.channels.solve import solve
from onnxslim.channels.units import Analysis, Site
from onnxslim.graph import constants, shapes
from onnxslim.graph.cost import FLOATS


def units(model: ir.Model, *, lossy: bool = False, dims: Mapping[str, int] | None = None) -> Analysis:
    """The channel units of ``model``; see :class:`onnxslim.channels.units.Analysis`.

    Args:
        model: Read only. Constants should have been folded (``simplify``); what has not been is pinned, not broken.
        lossy: Also units that a normalisation averages over (LayerNorm …), whose removal is not exact.
        dims: Sizes of free dimensions, for the MACs.
    """
    with _collector_paused():
        return _units(model, lossy, dims)


def _units(model: ir.Model, lossy: bool, dims: Mapping[str, int] | None) -> Analysis:
    copy = model.clone()
    name_nodes(copy.graph)
    shapes.infer(copy)
    collected = collect(copy, lossy)
    trace = collected.trace
    book = Book(collected, solve(trace.count, trace.ties, trace.pins, trace.products))
    sites = records.sites(book)
    macs = multiplications(copy, dims)
    return Analysis(
        count=book.count,
        sites=list(sites.values()),
        sizes=list(records.sizes(book)),
        remaps=list(records.remaps(book)),
        values=dict(records.values(book)),
        producers=list(records.producers(book, sites)),
        consumers=list(records.consumers(book, sites)),
        whole=book.whole,
        pinned=list(records.pins(book)),
        layers=list(layers(book, copy.graph)),
        params=saved(book.count, book.labels, _tensors(copy, list(sites.values()))),
        macs=saved(book.count, book.labels, [(macs.get(name, 0), axes) for name, axes in works(book)]),
        labels=book.labels,
        lossy=lossy,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No cyclic garbage collection meanwhile: nothing here is garbage until the end, and looking for it again and again
    among everything that was allocated so far takes a large model half of its time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tensors(model: ir.Model, sites: Sequence[Site]) -> Iterator[tuple[float, list[int]]]:
    """(elements, labels of its axes) of every float constant that holds units; one that is shared counts once."""
    nodes = list(model.graph)
    held: dict[tuple[int, int], list[Site]] = {}
    for site in sites:
        held.setdefault((site.node, site.input), []).append(site)
    seen: set[tuple[str, tuple[tuple[int, int], ...]]] = set()
    for (position, i), axes in held.items():
        key = axes[0].tensor, tuple((site.axis, site.labels) for site in axes)
        tensor = constants.tensor(nodes[position].inputs[i])
        if key not in seen and tensor is not None and tensor.dtype in FLOATS:
            seen.add(key)
            yield tensor.size, [site.labels for site in axes]
