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

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.inputs import inputs_of
from onnxslim.data.sources import open_samples
from onnxslim.errors import GateError, UsageError
from onnxslim.graph import shapes
from onnxslim.interface import refresh_outputs, set_input_shapes, set_inputs, set_outputs
from onnxslim.keywords import OPTIMIZATIONS, PATTERNS, Request, read
from onnxslim.quantize import QuantizeOptions, quantize
from onnxslim.quantize.float32 import widen
from onnxslim.runtime.session import trial
from onnxslim.simplify import SimplifyOptions, simplify
from onnxslim.validate.compare import compare

logger = logging.getLogger(__name__)


def slim(
    model: io.ModelLike | list[io.ModelLike],
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
            verbose.

    Returns:
        The simplified model; None when it was saved, when a list was given, and when it was not saved because
        ``model_check`` found a difference.

    Raises:
        TypeError: An unknown keyword.
        GateError: ``model_check`` found a difference; nothing was saved.
        OnnxslimError: Whatever loading, simplifying and saving raise.
    """
    if isinstance(model, list):
        for number, one in enumerate(model):
            loaded = io.load(one)
            if kwargs.get("dump_to_disk"):
                dump(loaded, _name(one, number))
        return None
    beside = bool(kwargs.pop("save_as_external_data", False)) or None
    try:
        _, result, _ = rewrite(model, read(**kwargs))
    except GateError as error:
        if output_model is not None:
            raise
        logger.error("%s", error.message)
        return None
    if output_model is None:
        proto = onnx.ModelProto()
        proto.ParseFromString(io.to_bytes(result))
        return proto
    io.save(result, output_model, external_data=beside)
    return None


def rewrite(model: io.ModelLike, request: Request) -> tuple[ir.Model, ir.Model, Account]:
    """Do what ``request`` asks for.

    Returns:
        The model with its inputs and outputs as asked for, the simplified one, and what simplifying did.

    Raises:
        GateError: The check found a difference.
        UnsupportedError: Nothing in the model can be of the type asked for.
    """
    before = io.load(model)
    if request.inputs:
        set_inputs(before, request.inputs)
    if request.input_shapes:
        set_input_shapes(before, request.input_shapes)
    if request.outputs:
        set_outputs(before, request.outputs)
    rules = [rule for name in _patterns(request.skip) for rule in PATTERNS[name]]
    options = SimplifyOptions(max_fold_bytes=request.size_threshold, skip=tuple(dict.fromkeys(rules)))
    if set(OPTIMIZATIONS) <= set(request.skip):
        after, account = io.clone(before), Account("simplify")
    else:
        after, account = simplify(before, options)
    if request.input_shapes:
        refresh_outputs(after)
    if request.model_check:
        _check(before, after, request.check_inputs or {})
    if request.dtype:
        after = _converted(after, request.dtype, options)
    return before, after, account


def dump(model: ir.Model, name: str) -> str:
    """Write every node's name, op and outputs as ``<name>_model_info.csv`` in the current folder; the path."""
    path = f"{name}_model_info.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("NodeName", "OpType", "OutputDtype", "OutputShape"))
        for node in model.graph.all_nodes():
            for position, value in enumerate(node.outputs):
                first = (node.name, node.op_type) if position == 0 else ("", "")
                dtype = "" if value.dtype is None else value.dtype.name.lower()
                writer.writerow((*first, dtype, shapes.dims(value) or ""))
    return path


def _patterns(skip: Sequence[str]) -> list[str]:
    """The patterns to leave out; the kinds of work that cannot be left out one by one are said."""
    for name in skip:
        if name in OPTIMIZATIONS and name != "graph_fusion":
            logger.warning("skip_optimizations %s: is not left out alone here, as it changes no result", name)
    return list(PATTERNS) if "graph_fusion" in skip else [name for name in skip if name in PATTERNS]


def _converted(model: ir.Model, dtype: str, options: SimplifyOptions) -> ir.Model:
    """``model`` with floats of the other size, those it takes and gives included; in float16, what needs more keeps it."""
    if dtype == "fp32":
        wide = io.clone(model)
        return simplify(wide, options)[0] if widen(wide) else model
    half, _ = quantize(model, None, QuantizeOptions(target="cuda"))
    for change, values in ((set_inputs, half.graph.inputs), (set_outputs, half.graph.outputs)):
        floats = {value.name for value in values if value.dtype is ir.DataType.FLOAT}
        change(half, {str(v.name): ir.DataType.FLOAT16 if v.name in floats else None for v in values})
    return simplify(half, options)[0]


def _check(before: ir.Model, after: ir.Model, given: dict[str, list[int] | str]) -> None:
    """Raise where ``after`` gives other outputs than ``before``, on the inputs given and random ones."""
    sized = io.clone(before)
    set_input_shapes(sized, {name: value for name, value in given.items() if not isinstance(value, str)})
    count = max(wanted.batch or 1 for wanted in inputs_of(sized))
    made = open_samples("random", sized, max_samples=count, runs=trial(before))
    feed = dict(next(made.batches(count)))
    for name, path in given.items():
        if isinstance(path, str):
            feed[name] = np.load(path, allow_pickle=False)
    try:
        found = compare(before, after, open_samples([feed], before))
    except UsageError as error:
        raise UsageError(
            f"model check: {error.message}", hint="name inputs that it runs on: --model-check-inputs NAME:SHAPE"
        ) from error
    if not found.equal:
        worst = max(found.outputs, key=lambda name: found.outputs[name].relative)
        raise GateError(
            f"model check: output {worst} differs by {found.outputs[worst].relative:.2g} of its largest value",
            hint="nothing was written",
        )


def _name(model: io.ModelLike, number: int) -> str:
    return os.path.basename(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else f"OnnxModel{number}"
