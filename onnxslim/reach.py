"""How much of a model structured pruning can reach, and what that would save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import onnx_ir as ir

from onnxslim.channels.analysis import units
from onnxslim.channels.blocks import blocks
from onnxslim.channels.display import describe, groups
from onnxslim.channels.layers import name_nodes
from onnxslim.data.sources import open_samples
from onnxslim.prune.latency import halves, savings
from onnxslim.runtime.session import SessionConfig, trial
from onnxslim.simplify import simplify


def reach(model: ir.Model, dims: Mapping[str, int] | None, config: SessionConfig | None) -> dict[str, Any]:
    """``channels`` of :class:`onnxslim.inspect.Inspection`, with measured times where there is a ``config``."""
    folded, _ = simplify(model)
    name_nodes(folded.graph)
    found = units(folded, dims=dims)
    whole = blocks(folded, dims)
    times: list[float] | None = None
    spent: list[float | None] = [None] * len(whole)
    if config is not None:
        samples = open_samples("random", folded, max_samples=1, dims=dims, runs=trial(folded, config))
        feeds = list(samples.batches(1))
        times = halves(folded, found, groups(found), feeds, config)
        spent = [*savings(folded, whole, feeds, config)]
    described = describe(found, times)
    described["blocks"] = [{**asdict(block), "seconds": each} for block, each in zip(whole, spent, strict=True)]
    return described
