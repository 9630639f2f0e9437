"""``onnxslim.slim``: the call of the PyPI package onnxslim 0.1.98, on this library's exact simplification.

What that package does to save nodes at the price of exactness, of names or of size is not done here; its keywords all
are taken. Differences are listed in docs/drop-in.md.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.inputs import inputs_of
from onnxslim.data.sources import open_samples
from onnxslim.errors import GateError, UnsupportedError, UsageError
from onnxslim.graph import shapes
from onnxslim.interface import DTYPES, refresh_outputs, set_input_shapes, set_inputs, set_outputs
from onnxslim.simplify import SimplifyOptions, simplify
from onnxslim.validate.compare import compare

logger = logging.getLogger(__name__)

#: The kinds of work that 0.1.98 can leave out.
OPTIMIZATIONS = (
    "constant_folding",
    "graph_fusion",
    "dead_node_elimination",
    "subexpression_elimination",
    "weight_tying",
)

#: Its fusions, and the rules that do the same here.
PATTERNS: dict[str, tuple[str, ...]] = {
    "FusionConvBN": ("conv+batchnorm",),
    "FusionConvTransposeBN": ("conv+batchnorm",),
    "FusionConvAdd": ("conv+scale",),
    "FusionConvTransposeAdd": ("conv+scale",),
    "FusionConvMul": ("conv+scale",),
    "FusionConvTransposeMul": ("conv+scale",),
    "FusionPadConv": ("pads",),
    "FusionGemm": ("matmul+add",),
    "FusionGemmMul": (),
    "FusionGemmAdd": (),
    "FusionReduce": ("reductions of one",),
    "FusionConcatReshape": (),
    "FusionGelu": (),
    "EliminationConcat": ("concatenations",),
    "EliminationReshape": ("reshapes",),
    "EliminationReshapeAs": ("reshapes",),
    "EliminationSlice": ("slices",),
    "EliminationTranspose": ("transposes",),
    "EliminationTransposeAsReshape": ("transposes", "reshapes"),
    "EliminationTransposeViewTranspose": ("transposes", "reshapes"),
    "EliminationUnsqueeze": ("reshapes",),
}

#: Keywords of this and earlier versions that say how to work, not what to make: they are taken and change nothing.
_IDLE = ("no_shape_infer", "no_constant_folding", "inspect", "dump_to_disk", "verbose")


@dataclass(frozen=True)
class Request:
    """The keywords of 0.1.98, read.

    Attributes:
        input_shapes: Sizes by input; -1 leaves a dimension as it is.
        inputs: Tensors to become the inputs, with their type or None.
        outputs: Tensors to become the outputs, with their type or None.
        skip: What to leave out: names of :data:`OPTIMIZATIONS` and of :data:`PATTERNS`.
        size_threshold: Bytes that folding constants may add.
        dtype: ``fp16`` or ``fp32``.
        model_check: Whether to compare the result with what it was made from.
        check_inputs: What to compare on: sizes or the path of an ``.npy`` by input; random values otherwise.
    """

    input_shapes: dict[str, list[int]]
    inputs: dict[str, ir.DataType | None]
    outputs: dict[str, ir.DataType | None]
    skip: tuple[str, ...] = ()
    size_threshold: int | None = None
    dtype: str | None = None
    model_check: bool = False
    check_inputs: dict[str, list[int] | str] | None = None


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


def read(
    *,
    input_shapes: Any = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] | None = None,
    skip_optimizations: Any = None,
    skip_fusion_patterns: Any = None,
    size_threshold: int | None = None,
    dtype: str | None = None,
    model_check: bool = False,
    model_check_inputs: Sequence[str] | None = None,
    **idle: Any,
) -> Request:
    """The keywords as a :class:`Request`.

    Raises:
        TypeError: An unknown keyword.
        UsageError: A value that means nothing.
    """
    for keyword in idle:
        if keyword not in _IDLE:
            raise TypeError(f"slim() got an unexpected keyword argument '{keyword}'")
    sizes = input_shapes if isinstance(input_shapes, dict) else dict(map(_shape, input_shapes or ()))
    checks = [_shape(text, file=True) for text in model_check_inputs or ()]
    dtype = {"float16": "fp16", "float32": "fp32"}.get(dtype or "", dtype)
    if dtype not in (None, "fp16", "fp32"):
        raise UsageError(f"dtype {dtype}: expected fp16 or fp32")
    return Request(
        {name: list(dims) for name, dims in sizes.items()},
        dict(map(_typed, inputs or ())),
        dict(map(_typed, outputs or ())),
        (*_skipped(skip_optimizations, OPTIMIZATIONS), *_skipped(skip_fusion_patterns, tuple(PATTERNS))),
        int(size_threshold) if size_threshold else None,
        dtype,
        bool(model_check),
        dict(checks) or None,
    )


def rewrite(model: io.ModelLike, request: Request) -> tuple[ir.Model, ir.Model, Account]:
    """Do what ``request`` asks for.

    Returns:
        The model with its inputs and outputs as asked for, the simplified one, and what simplifying did.

    Raises:
        GateError: The check found a difference.
        UnsupportedError: The element type cannot be converted.
    """
    before = io.load(model)
    if request.inputs:
        set_inputs(before, request.inputs)
    if request.input_shapes:
        set_input_shapes(before, request.input_shapes)
    if request.outputs:
        set_outputs(before, request.outputs)
    _refuse_conversion(before, request.dtype)
    if set(OPTIMIZATIONS) <= set(request.skip):
        after, account = io.clone(before), Account("simplify")
    else:
        rules = [rule for name in _patterns(request.skip) for rule in PATTERNS[name]]
        options = SimplifyOptions(max_fold_bytes=request.size_threshold, skip=tuple(dict.fromkeys(rules)))
        after, account = simplify(before, options)
    if request.input_shapes:
        refresh_outputs(after)
    if request.model_check:
        _check(before, after, request.check_inputs or {})
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


def _refuse_conversion(model: ir.Model, dtype: str | None) -> None:
    other = {"fp16": ir.DataType.FLOAT, "fp32": ir.DataType.FLOAT16}.get(dtype or "")
    values = (value for graph in model.graphs() for value in graph.initializers.values())
    if other is not None and any(value.dtype == other for value in values):
        raise UnsupportedError(f"dtype {dtype}: the element type of a model is not converted yet")


def _check(before: ir.Model, after: ir.Model, given: dict[str, list[int] | str]) -> None:
    """Raise where ``after`` gives other outputs than ``before``, on the inputs given and random ones."""
    sized = io.clone(before)
    set_input_shapes(sized, {name: value for name, value in given.items() if not isinstance(value, str)})
    count = max(wanted.batch or 1 for wanted in inputs_of(sized))
    feed = dict(next(iter(open_samples("random", sized, max_samples=count).batches(count))))
    for name, path in given.items():
        if isinstance(path, str):
            feed[name] = np.load(path, allow_pickle=False)
    found = compare(before, after, open_samples([feed], before))
    if not found.equal:
        worst = max(found.outputs, key=lambda name: found.outputs[name].relative)
        raise GateError(
            f"model check: output {worst} differs by {found.outputs[worst].relative:.2g} of its largest value",
            hint="nothing was written",
        )


def _shape(text: str, *, file: bool = False) -> tuple[str, Any]:
    name, _, value = text.rpartition(":")
    if file and value.endswith(".npy"):
        return name, value
    try:
        return name, [int(size) for size in value.split(",")]
    except ValueError:
        raise UsageError(f"{text}: expected INPUT:SHAPE", hint="for example x:1,3,224,224") from None


def _typed(text: str) -> tuple[str, ir.DataType | None]:
    """``y:fp32`` → y and its type; a name may hold a colon itself, as TensorFlow's do."""
    name, _, dtype = text.rpartition(":")
    return (name, DTYPES[dtype]) if name and dtype in DTYPES else (text, None)


def _skipped(given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names to leave out; callers also say True for all of them, and False for none."""
    if isinstance(given, bool) or given is None:
        return known if given else ()
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in known:
            raise UsageError(
                f"{name}: nothing of that name can be skipped", hint=f"one of {', '.join(known)}"
            )
    return names


def _name(model: io.ModelLike, number: int) -> str:
    return (
        os.path.basename(os.fspath(model)) if isinstance(model, (str, os.PathLike)) else f"OnnxModel{number}"
    )
