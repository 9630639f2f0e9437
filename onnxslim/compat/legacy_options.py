"""Parse the keywords of the PyPI package onnxslim 0.1.98."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxslim.core.errors import UsageError
from onnxslim.graph.signature import DTYPES_BY_NAME

#: The kinds of work that 0.1.98 can leave out.
OPTIMIZATIONS = ("constant_folding", "graph_fusion", "dead_node_elimination", "subexpression_elimination", "weight_tying")

#: Its fusions, and the rules that do the same here.
FUSION_PATTERNS: dict[str, tuple[str, ...]] = {
    "FusionConvBN": ("conv+batchnorm",),
    "FusionConvTransposeBN": ("conv+batchnorm",),
    "FusionConvAdd": ("conv+scale",),
    "FusionConvTransposeAdd": ("conv+scale",),
    "FusionConvMul": ("conv+scale",),
    "FusionConvTransposeMul": ("conv+scale",),
    "FusionPadConv": ("pads",),
    "FusionGemm": ("matmul+add", "matmul+add between reshapes"),
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
_IGNORED_KEYWORDS = ("no_shape_infer", "no_constant_folding", "inspect", "dump_to_disk", "verbose")


@dataclass(frozen=True)
class SlimOptions:
    """What the keywords of 0.1.98 ask for.

    Attributes:
        input_shapes: Sizes by input; -1 leaves a dimension as it is.
        inputs: Tensors to become the inputs, with their type or None.
        outputs: Tensors to become the outputs, with their type or None.
        skip: What to leave out: names of :data:`OPTIMIZATIONS` and of :data:`FUSION_PATTERNS`.
        size_threshold: Bytes that folding constants may add.
        dtype: ``fp16`` or ``fp32``.
        model_check: Whether to compare the result with what it was made from.
        check_inputs: What to compare on: sizes or the path of an ``.npy`` by input; random values otherwise.
        keep_initializer_inputs: Whether initializers that are inputs too stay inputs; 0.1.98 makes constants of all.
    """

    input_shapes: dict[str, list[int]]
    inputs: dict[str, ir.DataType | None]
    outputs: dict[str, ir.DataType | None]
    skip: tuple[str, ...] = ()
    size_threshold: int | None = None
    dtype: str | None = None
    model_check: bool = False
    check_inputs: dict[str, list[int] | str] | None = None
    keep_initializer_inputs: bool = False


def parse_keywords(
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
    keep_initializer_inputs: bool = False,
    **ignored: Any,
) -> SlimOptions:
    """The keywords as a :class:`SlimOptions`.

    Raises:
        TypeError: An unknown keyword.
        UsageError: A value that means nothing.
    """
    for keyword in ignored:
        if keyword not in _IGNORED_KEYWORDS:
            raise TypeError(f"slim() got an unexpected keyword argument '{keyword}'")
    shapes = input_shapes if isinstance(input_shapes, dict) else dict(map(_parse_shape, input_shapes or ()))
    check_inputs = [_parse_shape(text, file=True) for text in model_check_inputs or ()]
    dtype = {"float16": "fp16", "float32": "fp32"}.get(dtype or "", dtype)
    if dtype not in (None, "fp16", "fp32"):
        raise UsageError(f"dtype {dtype}: expected fp16 or fp32")
    return SlimOptions(
        {name: list(dims) for name, dims in shapes.items()},
        dict(map(_parse_typed_name, inputs or ())),
        dict(map(_parse_typed_name, outputs or ())),
        (*_list_skipped(skip_optimizations, OPTIMIZATIONS), *_list_skipped(skip_fusion_patterns, tuple(FUSION_PATTERNS))),
        None if size_threshold is None else int(size_threshold),
        dtype,
        bool(model_check),
        dict(check_inputs) or None,
        bool(keep_initializer_inputs),
    )


def _parse_shape(text: str, *, file: bool = False) -> tuple[str, Any]:
    name, _, value = text.rpartition(":")
    if file and value.endswith(".npy"):
        return name, value
    try:
        return name, [int(size) for size in value.split(",")]
    except ValueError:
        raise UsageError(f"{text}: expected INPUT:SHAPE", hint="for example x:1,3,224,224") from None


def _parse_typed_name(text: str) -> tuple[str, ir.DataType | None]:
    """``y:fp32`` → y and its type; a name may hold a colon itself, as TensorFlow's do."""
    name, _, dtype = text.rpartition(":")
    return (name, DTYPES_BY_NAME[dtype]) if name and dtype in DTYPES_BY_NAME else (text, None)


def _list_skipped(given: Any, choices: tuple[str, ...]) -> tuple[str, ...]:
    """Names to leave out; callers also say True for all of them, and False for none."""
    if isinstance(given, bool) or given is None:
        return choices if given else ()
    names = (given,) if isinstance(given, str) else tuple(given)
    for name in names:
        if name not in choices:
            raise UsageError(f"{name}: nothing of that name can be skipped", hint=f"one of {', '.join(choices)}")
    return names
