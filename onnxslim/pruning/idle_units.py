"""Units that say nothing go before any that does, exactly: whatever ranks the others, and with data or without."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.channels.analysis.units import Analysis
from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.pruning.channel_groups import find_channel_groups, select_eligible
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.latency import CHANNEL_MULTIPLE


def finds_idle_units(options: PruneOptions, *, has_data: bool) -> bool:
    """Whether the ranking of ``options`` sees by itself what costs nothing: Optimal Brain Surgeon does, on data."""
    return has_data and options.criterion == "obs" and not options.uniform


def remove_idle_units(model: ir.Model, options: PruneOptions) -> tuple[ir.Model, StepReport]:
    """``model`` without the units that no output depends on or that repeat another, as far as ``options`` allow.

    Nothing is repaired afterwards, for nothing is lost: what they gave goes into biases and into those that they repeat.

    Args:
        model: With named nodes; it is not changed.
        options: What is excluded, and what kept channels are a multiple of.

    Returns:
        The model, ``model`` itself where nothing goes, and how many went for which reason.
    """
    reduced = model_file.clone(model)
    costs = compute_cost(reduced).nodes
    multiple = options.round_to if isinstance(options.round_to, int) else CHANNEL_MULTIPLE

    def limit(analysis: Analysis, removed: np.ndarray) -> np.ndarray:
        allowed = np.zeros_like(removed)
        groups, _ = select_eligible(find_channel_groups(analysis), costs, options.exclude, options.min_layer_params)
        for group in groups:
            idle = group.units[removed[group.units]]
            kept = -(-(len(group) - len(idle)) // multiple) * multiple
            allowed[idle[: max(len(group) - kept, 0)]] = True
        return allowed

    report = remove_lossless(reduced, limit)
    if not report.changed:
        return model, report
    shapes.infer(reduced)
    return reduced, report
