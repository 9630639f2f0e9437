"""``random``: made-up data, for trying things out; nothing measured on them says anything about accuracy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.columns import Array, Column, ColumnRows, Indices, stack_rows
from onnxslim.data.model_inputs import Dim, ModelInput, find_fixed_batch_size
from onnxslim.data.reader import ReaderRequest, ReaderResult

#: How many samples where ``max_samples`` does not say, and how many runs they fill at least where a batch is fixed: two to
#: fit on, one to choose by and one to judge by.
DEFAULT_SAMPLES, DEFAULT_RUNS = 32, 4
#: What to do where the model does not run with what was made up.
REAL_DATA_HINT = "give real inputs with --data, such as an .npz of arrays by input name"
#: Free spatial dimensions, as everywhere in this tool.
DEFAULT_SPATIAL_SIZE = 224
#: Free dimensions tried in turn where the model does not run with those: a kernel or its padding wants more, or a stride
#: something to divide. No row gets more elements than the second number.
LARGER_DIM_SIZES = (64, 512, 4096, 16384)
_MAX_ROW_ELEMENTS = 1 << 24
#: Above this an image dimension that is fixed cannot be the channels.
_MAX_CHANNELS = 4


def accepts(source: Any) -> bool:
    """The word ``random``; a file of that name is spelled ``./random``."""
    return isinstance(source, str) and source == "random"


def read(request: ReaderRequest) -> ReaderResult:
    """Normally distributed floats; integers below the input's ``limit`` (where none is known 0 and 1, or 1 where a row is
    one number).

    There are as many as ``request.max_samples`` says, rounded up to whole batches. Free dimensions are those of
    ``request.dims``, else ``request.free``, else 224 for spatial ones and 1 for others.

    Raises:
        UnsupportedError: An input of strings, or of unknown rank: nothing sensible can be made up.
    """
    columns: dict[str, Column | Array] = {}
    batch = find_fixed_batch_size(request.required_inputs)
    count = request.max_samples or max(DEFAULT_SAMPLES, DEFAULT_RUNS * batch)
    count += -count % batch
    for number, model_input in enumerate(request.required_inputs):
        if model_input.dims is None or model_input.number_kind == "strings":
            raise UnsupportedError(
                f"random data cannot be made up for input '{model_input.name}' {model_input}", hint=REAL_DATA_HINT
            )
        shape = _get_row_shape(model_input, request)
        columns[model_input.name] = RandomColumn(model_input, shape, count, (request.seed, number))
    warnings = ["random data: figures measured on them say nothing about accuracy"]
    if request.free is not None:
        warnings.append(f"random data: free dimensions are {request.free}, because the model does not run with less")
    return ReaderResult(columns, "random", warnings=warnings)


def enlarge_dims(request: ReaderRequest) -> Iterator[ReaderRequest]:
    """``request`` with larger free dimensions, one size after the other; nothing where ``dims`` names them all."""
    dims = [
        dim
        for model_input in request.required_inputs
        for axis, dim in enumerate(model_input.dims or ())
        if axis != model_input.axis and not isinstance(dim, int) and dim not in request.dims
    ]
    for size in LARGER_DIM_SIZES if dims else ():
        larger = dataclasses.replace(request, free=size)
        if all(math.prod(_get_row_shape(i, larger)) <= _MAX_ROW_ELEMENTS for i in request.required_inputs):
            yield larger


class RandomColumn:
    """Rows made from a seed (its second number is the input's) and their index, so that they are the same in any order."""

    def __init__(self, model_input: ModelInput, shape: tuple[int, ...], count: int, seed: tuple[int, int]) -> None:
        self._model_input = model_input
        self._count = count
        self._seed = seed
        self.shapes = {shape: 0}
        self.dtype = self._make_row(0).dtype

    def __len__(self) -> int:
        return self._count

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The rows of each chunk."""
        for chunk in chunks:
            yield stack_rows([self._make_row(int(row)) for row in chunk])

    def _make_row(self, row: int) -> Array:
        rng = np.random.default_rng([*self._seed, row])
        shape = next(iter(self.shapes))
        if self._model_input.number_kind == "floats":
            return rng.standard_normal(shape, dtype=np.float32)
        single = self._model_input.limit is None and self._model_input.number_kind != "booleans" and math.prod(shape) == 1
        # one whole number of unknown use is a count, a size or a step more often than an index, and none of those is 0
        numbers = rng.integers(int(single), self._model_input.limit or 2, shape)
        return numbers.astype(np.bool_) if self._model_input.number_kind == "booleans" else numbers


def _get_row_shape(model_input: ModelInput, request: ReaderRequest) -> tuple[int, ...]:
    dims, sizes = model_input.dims or (), []
    spatial = _find_spatial_axes(dims)
    for axis, dim in enumerate(dims):
        if axis != model_input.axis:
            default = DEFAULT_SPATIAL_SIZE if axis in spatial else 1
            free = default if request.free is None else request.free
            sizes.append(dim if isinstance(dim, int) else request.dims.get(dim or "", free))
    return tuple(sizes)


def _find_spatial_axes(dims: Sequence[Dim]) -> range:
    """The axes of height and width of an image input (rank 4), wherever the channels are."""
    if len(dims) != 4:
        return range(0)
    channels_last = isinstance(dims[3], int) and dims[3] <= _MAX_CHANNELS and not isinstance(dims[1], int)
    return range(1, 3) if channels_last else range(2, 4)
