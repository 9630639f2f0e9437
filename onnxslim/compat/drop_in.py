"""``onnxslim.slim``: the call of the PyPI package onnxslim 0.1.98, on this library's exact simplification.

What that package does to save nodes at the price of exactness, of names or of size is not done here; its keywords all
are taken. Differences are listed in docs/drop-in.md.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim.compat.float32 import widen
from onnxslim.compat.legacy_options import FUSION_PATTERNS, OPTIMIZATIONS, SlimOptions, parse_keywords
from onnxslim.core.errors import GateError, NothingGainedError, UsageError
from onnxslim.core.step_report import StepReport
from onnxslim.data.model_inputs import find_fixed_batch_size, get_model_inputs
from onnxslim.data.sources import open_samples
from onnxslim.graph import shapes
from onnxslim.graph.signature import (
    describe_frozen_inputs,
    freeze_initializer_inputs,
    list_input_names,
    refresh_outputs,
    set_input_shapes,
    set_inputs,
    set_outputs,
)
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.load_check import save_checked
from onnxslim.runtime.session import make_run_check
from onnxslim.simplification.step import SimplifyOptions, simplify
from onnxslim.validation.comparison import compare

logger = logging.getLogger(__name__)


def slim(
    model: model_file.ModelLike | list[model_file.ModelLike],
    output_model: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> onnx.ModelProto | None:
    """Simplify ``model`` exactly, as the function of this name in the PyPI package onnxslim 0.1.98 is called.

    Args:
        model: A path, ModelProto, bytes or ``onnx_ir.Model``, which is not changed; or a list of them, which are only
            read (and written as tables with ``dump_to_disk``).
        output_model: Where to save the result, atomically.
        **kwargs: model_check, input_shapes, inputs, outputs, no_shape_infer, skip_optimizations, dtype,
            skip_fusion_patterns, size_threshold, dump_to_disk, save_as_external_data, model_check_inputs, inspect,
            verbose; and ``keep_initializer_inputs``, which 0.1.98 does not have.

    Returns:
        The simplified model; None when it was saved, when a list was given, and when it was not saved because
        ``model_check`` found a difference.

    Raises:
        TypeError: An unknown keyword.
        GateError: ``model_check`` found a difference; nothing was saved.
        OnnxslimError: Whatever loading, simplifying and saving raise.
    """
    if isinstance(model, list):
        for number, listed_model in enumerate(model):
            loaded = model_file.load(listed_model)
            is_path = isinstance(listed_model, (str, os.PathLike))
            if kwargs.get("dump_to_disk"):
                write_node_table(loaded, os.path.basename(listed_model) if is_path else f"OnnxModel{number}")
        return None
    external_data = bool(kwargs.pop("save_as_external_data", False)) or None
    try:
        _, result, report = rewrite(model, parse_keywords(**kwargs))
    except GateError as error:
        if output_model is not None:
            raise
        logger.error("%s", error.message)
        return None
    for line in report.warnings:
        logger.info("%s", line)
    if output_model is None:
        proto = onnx.ModelProto()
        proto.ParseFromString(model_file.to_bytes(result))
        return proto
    if (warning := save_checked(result, output_model, model, external_data=external_data)) is not None:
        logger.warning("%s", warning)
    return None


def rewrite(model: model_file.ModelLike, slim_options: SlimOptions) -> tuple[ir.Model, ir.Model, StepReport]:
    """Do what ``slim_options`` asks for.

    Returns:
        The model with its inputs and outputs as asked for, the simplified one, and what simplifying did.

    Raises:
        GateError: The check found a difference.
    """
    before = model_file.load(model)
    kept = list_input_names(before) if slim_options.keep_initializer_inputs else list(slim_options.check_inputs or ())
    frozen = freeze_initializer_inputs(before, kept)
    if slim_options.inputs:
        set_inputs(before, slim_options.inputs)
    if slim_options.input_shapes:
        set_input_shapes(before, slim_options.input_shapes)
    if slim_options.outputs:
        set_outputs(before, slim_options.outputs)
    rules = [rule for name in _select_patterns(slim_options.skip) for rule in FUSION_PATTERNS[name]]
    options = SimplifyOptions(max_fold_bytes=slim_options.size_threshold, skip=tuple(dict.fromkeys(rules)))
    if set(OPTIMIZATIONS) <= set(slim_options.skip):
        after, report = model_file.clone(before), StepReport("simplify")
    else:
        after, report = simplify(before, options, kept_inputs=list_input_names(before))
    report.warnings[:0] = describe_frozen_inputs(frozen)
    if slim_options.input_shapes:
        refresh_outputs(after)
    if slim_options.model_check:
        _check_outputs(before, after, slim_options.check_inputs or {})
    if slim_options.dtype:
        after = _convert_dtype(after, slim_options.dtype, options)
    return before, after, report


def write_node_table(model: ir.Model, name: str) -> str:
    """Write every node's name, op and outputs as ``<name>_model_info.csv`` in the current folder; the path."""
    path = f"{name}_model_info.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("NodeName", "OpType", "OutputDtype", "OutputShape"))
        for node in model.graph.all_nodes():
            for position, value in enumerate(node.outputs):
                first = (node.name, node.op_type) if position == 0 else ("", "")
                dtype = "" if value.dtype is None else value.dtype.name.lower()
                writer.writerow((*first, dtype, shapes.get_dims(value) or ""))
    return path


def _select_patterns(skip: Sequence[str]) -> list[str]:
    """The patterns to leave out; the kinds of work that cannot be left out one by one are said."""
    for name in skip:
        if name in OPTIMIZATIONS and name != "graph_fusion":
            logger.warning("skip_optimizations %s: is not left out alone here, as it changes no result", name)
    return list(FUSION_PATTERNS) if "graph_fusion" in skip else [name for name in skip if name in FUSION_PATTERNS]


def _convert_dtype(model: ir.Model, dtype: str, options: SimplifyOptions) -> ir.Model:
    """``model`` with floats of the other size, those it takes and gives included; in float16, what needs more keeps it."""
    if dtype == "fp32":
        wide = model_file.clone(model)
        return simplify(wide, options, kept_inputs=list_input_names(wide))[0] if widen(wide) else model
    try:
        half, _ = quantize(model, None, QuantizeOptions(target="cuda"), kept_inputs=list_input_names(model))
    except NothingGainedError as error:
        logger.warning("dtype fp16: %s", error.message)
        return model
    for set_dtypes, values in ((set_inputs, half.graph.inputs), (set_outputs, half.graph.outputs)):
        floats = {v.name for v in values if v.dtype is ir.DataType.FLOAT and isinstance(v.type, ir.TensorType)}
        set_dtypes(half, {str(v.name): ir.DataType.FLOAT16 if v.name in floats else None for v in values})
    return simplify(half, options, kept_inputs=list_input_names(half))[0]


def _check_outputs(before: ir.Model, after: ir.Model, check_inputs: dict[str, list[int] | str]) -> None:
    """Raise where ``after`` gives other outputs than ``before``, on the inputs given and random ones."""
    sized = model_file.clone(before)
    set_input_shapes(sized, {name: value for name, value in check_inputs.items() if not isinstance(value, str)})
    count = find_fixed_batch_size(get_model_inputs(sized))
    given = {name: np.load(path, allow_pickle=False) for name, path in check_inputs.items() if isinstance(path, str)}
    run_check = make_run_check(before)
    try:
        random_samples = open_samples(
            "random", sized, max_samples=count, run_check=lambda feeds: run_check({**feeds, **given})
        )
        feed = {**next(random_samples.batches(count)), **given}
        comparison = compare(before, after, open_samples([feed], before))
    except UsageError as error:
        raise UsageError(
            f"model check: {error.message}",
            hint="name inputs that it runs on: --model-check-inputs NAME:SHAPE or NAME:FILE.npy; or compare IN OUT --data",
        ) from error
    if not comparison.equal:
        worst = max(comparison.outputs, key=lambda name: comparison.outputs[name].relative)
        raise GateError(
            f"model check: output {worst} differs by {comparison.outputs[worst].relative:.2g} of its largest value",
            hint="nothing was written",
        )
