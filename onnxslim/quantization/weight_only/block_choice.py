"""Which linear layers read int8 weights in blocks, and which have them expanded at load.

What is expanded runs as fast as float and takes as much memory; blocks take a quarter, are up to three times faster where
weights weigh more than rows, and slower where they do not. So it is measured; or decided by the rows that an inference has
and the weights that a layer has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.run_context import RunContext
from onnxslim.core.deadline import seconds_left
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.evaluation import placement_profiling
from onnxslim.quantization.linear_layers import WeightMatrix
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.quantization.weight_only.blocks import find_block_weights, write_blockwise

#: Seconds that measuring takes, about.
_TIMING_SECONDS = 3.0
#: Samples that times are measured on.
NUM_TIMING_SAMPLES = 4
#: From so many weights on, blocks are faster however many rows there are, on x86 with VNNI: 1.3 times at 512 x 512.
_MIN_LARGE_SIZE = 1 << 18
#: With so few rows, that holds from so many weights on.
_MAX_FEW_ROWS, _MIN_FEW_ROWS_SIZE = 2, 1 << 16
#: On CPUs whose int8 products are no faster than float ones, it is the bytes read that count: few rows.
_MAX_ROWS_WITHOUT_VNNI = 4


def choose_block_layers(
    model: ir.Model, context: RunContext, options: QuantizeOptions, report: StepReport
) -> tuple[str, ...]:
    """The linear layers of ``model`` (prepared) that read blocks, by name, sorted.

    Those of ``options.block_layers`` if an earlier run decided; else none where the target reads blocks slowly;
    else the fastest here of none, large ones and all, where ``options.placement`` is ``measured`` and there are samples to
    run on; else the large ones.
    """
    if options.block_layers is not None:
        return options.block_layers
    target = TARGETS[options.target]
    if target.slow_blocks_reason is not None:
        report.skip("MatMulNBits", target.slow_blocks_reason)
        return ()
    weights = find_block_weights(model, options.exclude)
    calibration = None if context.samples is None else CalibrationFeeds(context.samples)
    feeds = None if calibration is None else calibration.for_timing(NUM_TIMING_SAMPLES, context.config, options.placement)
    large = _find_large(model, weights, feeds[0] if feeds else {}, has_slow_int8=target.saturating_pairs)
    if feeds is None or options.placement != "measured" or not weights:
        return large
    if seconds_left(context.deadline) < _TIMING_SECONDS:
        report.skip("measured placement", "there is no time left to measure: rows and sizes decide what reads blocks")
        return large
    choices = {"expanded": (), "large in blocks": large, "in blocks": _list_layers(weights)}
    distinct = {name: layers for index, (name, layers) in enumerate(choices.items()) if layers or not index}
    candidates = {}
    for name, layers in distinct.items():
        candidates[name] = model_file.clone(model)
        write_blockwise(candidates[name], 8, options.exclude, layers)
    fastest, _ = placement_profiling.pick_fastest(candidates, feeds, context.config, report)
    return distinct[fastest]


def _find_large(
    model: ir.Model, weights: Sequence[WeightMatrix], feed: Mapping[str, np.ndarray], *, has_slow_int8: bool
) -> tuple[str, ...]:
    model_cost = compute_cost(model, shapes.read_dim_sizes(model, feed))
    macs = {name: cost.macs for name, cost in model_cost.nodes.items() if name not in model_cost.unknown}
    large = []
    for weight in weights:
        rows = max(macs.get(linear.name, np.inf) / weight.array.size for linear in weight.linear_layers)
        is_large = weight.array.size >= _MIN_LARGE_SIZE and (not has_slow_int8 or rows <= _MAX_ROWS_WITHOUT_VNNI)
        if is_large or (weight.array.size >= _MIN_FEW_ROWS_SIZE and rows <= _MAX_FEW_ROWS):
            large.append(weight)
    return _list_layers(large)


def _list_layers(weights: Sequence[WeightMatrix]) -> tuple[str, ...]:
    return tuple(sorted(linear.name for weight in weights for linear in weight.linear_layers))
