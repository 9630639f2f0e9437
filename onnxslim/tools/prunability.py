"""How much of a model structured pruning can reach, and what that would save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import onnx_ir as ir

from onnxslim.channels.analysis.analysis import analyze_channels
from onnxslim.channels.analysis.display import describe, group_units
from onnxslim.channels.removable_blocks import find_blocks
from onnxslim.data.sources import open_samples
from onnxslim.graph.stored_weights.unpacking import unpack_weights
from onnxslim.graph.traversal import name_nodes
from onnxslim.pruning.selection.latency import time_blocks, time_half_widths
from onnxslim.runtime.session import SessionConfig, make_run_check
from onnxslim.simplification.step import simplify


def describe_prunability(model: ir.Model, dims: Mapping[str, int] | None, config: SessionConfig | None) -> dict[str, Any]:
    """``channels`` of :class:`onnxslim.tools.inspection.Inspection`, with measured times where there is a ``config``."""
    folded, _ = simplify(model)
    unpack_weights(folded)
    name_nodes(folded.graph)
    analysis = analyze_channels(folded, dims=dims)
    droppable_blocks = find_blocks(folded, dims)
    group_seconds: list[float] | None = None
    block_seconds: list[float | None] = [None] * len(droppable_blocks)
    if config is not None:
        samples = open_samples("random", folded, max_samples=1, dims=dims, run_check=make_run_check(folded, config))
        feeds = list(samples.batches(1))
        group_seconds = time_half_widths(folded, analysis, group_units(analysis), feeds, config)
        block_seconds = [*time_blocks(folded, droppable_blocks, feeds, config)]
    description = describe(analysis, group_seconds)
    description["blocks"] = [
        {**asdict(block), "seconds": seconds} for block, seconds in zip(droppable_blocks, block_seconds, strict=True)
    ]
    return description
