"""``random``: made-up data, for trying things out; nothing measured on them says anything about accuracy."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from onnxslim.data.columns import Array, Column, Indices, Rows, stacked
from onnxslim.data.inputs import Dim, Input
from onnxslim.data.request import Found, Request
from onnxslim.errors import UnsupportedError

#: How many samples unless told.
COUNT = 32
#: Free spatial dimensions, as everywhere in this tool.
SPATIAL = 224
#: Free dimensions tried in turn where the model does not run with those: a kernel or its padding wants more, or a stride
#: something to divide. No row gets more elements than the second number.
GROWN = (64, 512, 4096, 16384)
_MOST = 1 << 24
#: Above this an image dimension that is fixed cannot be the channels.
_CHANNELS = 4


def accepts(source: Any) -> bool:
    """The word itself; a file of that name is spelled ``./random``."""
    return isinstance(source, str) and source == "random"


def read(request: Request) -> Found:
    """Normally distributed floats; integers below the input's ``limit`` (0 and 1 where none is known).

    Free dimensions are those of ``request.dims``, else ``request.free``, else 224 for spatial ones and 1 for others.

    Raises:
        UnsupportedError: An input of strings, or of unknown rank: nothing sensible can be made up.
    """
    columns: dict[str, Column | Array] = {}
    for number, wanted in enumerate(request.required):
        if wanted.dims is None or wanted.family == "strings":
            raise UnsupportedError(f"random data cannot be made up for input '{wanted.name}' {wanted}")
        shape = _shape(wanted, request)
        columns[wanted.name] = RandomColumn(
            wanted, shape, request.max_samples or COUNT, (request.seed, number)
        )
    warnings = ["random data: figures measured on them say nothing about accuracy"]
    if request.free is not None:
        warnings.append(f"random data: free dimensions are {request.free}, because the model does not run with less")
    return Found(columns, "random", warnings=warnings)


def grown(request: Request) -> Iterator[Request]:
    """``request`` with larger free dimensions, one size after the other; nothing where ``dims`` names them all."""
    dims = [
        dim
        for wanted in request.required
        for axis, dim in enumerate(wanted.dims or ())
        if axis != wanted.axis and not isinstance(dim, int) and dim not in request.dims
    ]
    for size in GROWN if dims else ():
        larger = dataclasses.replace(request, free=size)
        if all(math.prod(_shape(wanted, larger)) <= _MOST for wanted in request.required):
            yield larger


class RandomColumn:
    """Rows made from a seed and their index, so that they are the same in any order.

    Args:
        wanted: The input they are for.
        shape: Of one row.
        count: How many.
        seed: Two numbers, the second one per input.
    """

    def __init__(self, wanted: Input, shape: tuple[int, ...], count: int, seed: tuple[int, int]) -> None:
        self._wanted = wanted
        self._count = count
        self._seed = seed
        self.shapes = {shape: 0}
        self.dtype = self._row(0).dtype

    def __len__(self) -> int:
        return self._count

    def read(self, chunks: Sequence[Indices]) -> Iterator[Rows]:
        """The rows of each chunk."""
        for chunk in chunks:
            yield stacked([self._row(int(row)) for row in chunk])

    def _row(self, row: int) -> Array:
        rng = np.random.default_rng([*self._seed, row])
        shape = next(iter(self.shapes))
        if self._wanted.family == "floats":
            return rng.standard_normal(shape, dtype=np.float32)
        numbers = rng.integers(0, self._wanted.limit or 2, shape)
        return numbers.astype(np.bool_) if self._wanted.family == "booleans" else numbers


def _shape(wanted: Input, request: Request) -> tuple[int, ...]:
    dims = wanted.dims or ()
    axes = [axis for axis in range(len(dims)) if axis != wanted.axis]
    spatial = _spatial(dims)
    return tuple(_size(dims[axis], request, SPATIAL if axis in spatial else 1) for axis in axes)


def _size(dim: Dim, request: Request, default: int) -> int:
    if isinstance(dim, int):
        return dim
    return request.dims.get(dim or "", default if request.free is None else request.free)


def _spatial(dims: Sequence[Dim]) -> range:
    """The axes of height and width of an image input (rank 4), wherever the channels are."""
    if len(dims) != 4:
        return range(0)
    last = isinstance(dims[3], int) and dims[3] <= _CHANNELS and not isinstance(dims[1], int)
    return range(1, 3) if last else range(2, 4)
