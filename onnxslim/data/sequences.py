"""Sequences: samples in time order, where an output of one step is an input of the next.

A reader sees a sequence as one sample with a time axis in front: arrays ``(sequences, time, ...)``, or a file each.
Arrays ``(time, ...)`` are one sequence; so are the rows of a table or the images of a folder, unless ``--group`` tells
several apart. :func:`flatten` lays the steps of all sequences end to end, and :func:`carry` runs the original once in
time order and keeps what it fed back to itself.

From then on a step is an ordinary sample, fed with the state that the original really had there: calibration, repair,
recovery and profiling need to know nothing about time. Only who judges lets every model carry its own state
(:mod:`onnxslim.runtime.stateful`), because there the error that a model feeds back to itself is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from onnxslim.data.columns import Array, ArrayColumn, Chain, Column, FileColumn, Indices, Rows, chained
from onnxslim.data.feeds import feed
from onnxslim.data.inputs import Dim, Input
from onnxslim.data.request import Found, Request
from onnxslim.data.samples import Samples, Steps
from onnxslim.data.spool import Spool
from onnxslim.errors import InvalidDataError, UnsupportedError, UsageError

#: What the time axis is called, for made-up data: ``--dim time=100``.
TIME = "time"
#: Steps of a made-up sequence.
TIME_STEPS = 32


@dataclass(frozen=True)
class Carry:
    """How state is carried.

    Attributes:
        pairs: Output → the input it is fed back to.
        outputs: The outputs that the model has.
        run: One inference of the original: feeds by input → outputs by name.
    """

    pairs: Mapping[str, str]
    outputs: Sequence[str]
    run: Callable[[Mapping[str, Array]], Mapping[str, Any]]

    def check(self, inputs: Sequence[Input]) -> None:
        """Refuse pairs that the model does not have.

        Raises:
            UsageError: No such output or input, or one that appears twice.
        """
        known = {i.name for i in inputs}
        for output, wanted in self.pairs.items():
            if output not in self.outputs:
                raise UsageError(
                    f"--state {output}={wanted}: the model has no output {output}",
                    hint=f"it has {', '.join(self.outputs)}; the form is OUT=IN",
                )
            if wanted not in known:
                raise UsageError(
                    f"--state {output}={wanted}: the model has no input {wanted}",
                    hint=f"it has {', '.join(sorted(known))}; the form is OUT=IN",
                )
        if len(set(self.pairs.values())) < len(self.pairs):
            raise UsageError("--state: two outputs are fed back to one input")
        if not known - set(self.pairs.values()):
            raise UsageError("--state: every input would be fed back, and none is left for data")


def timed(wanted: Input) -> Input:
    """``wanted`` as a reader sees it when a sample is a whole sequence."""
    if wanted.dims is None or wanted.dims == ():
        return wanted
    dims: tuple[Dim, ...] = (None, TIME, *wanted.sample_dims)
    return replace(wanted, dims=dims, axis=0)


def flatten(found: Found, request: Request, inputs: Sequence[Input], *, rows: bool) -> tuple[Found, Steps]:
    """The steps of all sequences of ``found`` end to end, and where each belongs.

    Args:
        found: What the reader found.
        request: What it was asked for.
        inputs: What the model takes, but for the state.
        rows: The reader's rows are steps, not sequences.

    Raises:
        InvalidDataError: Inputs of different length in time, or a state among the data.
    """
    names = request.names(found.columns)
    fed = {i.name: i for i in inputs if i.dims != ()}
    columns = {key: c for key, c in found.columns.items() if not isinstance(c, np.ndarray) and names[key] in fed}
    if not columns:
        return found, Steps(np.zeros(1, np.intp), np.zeros(1, np.intp))  # whatever is missing is said later
    if rows or all(_is_step(fed[names[key]], column) for key, column in columns.items()):
        total = len(next(iter(columns.values())))
        return found, _stretches(_key(found, request.group, total))
    flat = {key: _flat(column, f"'{key}'") for key, column in columns.items()}
    first, (_, lengths) = next(iter(flat.items()))
    for key, (_, own) in flat.items():
        if not np.array_equal(own, lengths):
            raise InvalidDataError(
                f"{found.title}: '{key}' and '{first}' differ in their numbers of sequences or steps: "
                f"{_some(own)} and {_some(lengths)}"
            )
    whose = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    steps = Steps(whose, np.arange(len(whose)) - np.repeat(starts, lengths))
    made = replace(
        found,
        columns={key: flat[key][0] if key in flat else _aside(c, steps) for key, c in found.columns.items()},
        labels=None if found.labels is None else found.labels[whose],
        groups=None if found.groups is None else found.groups[whose],
    )
    return made, steps


def carry(samples: Samples, how: Carry, inputs: Sequence[Input], dims: Mapping[str, int]) -> Samples:
    """``samples`` with the state inputs that the original has at each step; every sequence starts from zeros.

    Args:
        samples: Sequences without state; their ``steps`` are known.
        how: The pairs, and what runs the original.
        inputs: The state inputs.
        dims: Sizes of free dimensions by symbol.

    Raises:
        InvalidDataError: A state that comes back in another shape or type than it goes in.
        UnsupportedError: A batch fixed at several samples, or a state of unknown size.
    """
    if samples.fixed_batch not in (None, 1):
        raise UnsupportedError(
            f"--state: the model's batch is fixed at {samples.fixed_batch}; sequences run one by one",
            hint="export the model with a batch of 1 or a free one",
        )
    back = {wanted: output for output, wanted in how.pairs.items()}
    start = {i.name: _zeros(i, dims) for i in inputs}
    axes = {i.name: i.axis for i in inputs}
    spools = {i.name: Spool(f"the state '{i.name}'") for i in inputs}
    state: dict[str, Array] = {}
    for batch in samples.batches(1):
        if not samples.continues[batch.indices.start]:
            state = {name: _fed(row, axes[name]) for name, row in start.items()}
        for name, value in state.items():
            axis = axes[name]
            spools[name].append(value[None] if axis is None else np.moveaxis(value, axis, 0))
        found = how.run({**batch, **state})
        state = {name: _back(found[output], state[name], output, name) for name, output in back.items()}
    columns = {i.name: _Placed(spools[i.name].column(), samples.positions) for i in inputs}
    return samples.with_feeds([feed(i, columns[i.name], i.name) for i in inputs], how.pairs)


class _Placed:
    """Rows that exist for some of a source's rows: row ``i`` of the source is row ``places[i]`` here."""

    def __init__(self, column: Column, places: Indices) -> None:
        self._column, self._places = column, places
        self.dtype, self.shapes = column.dtype, column.shapes

    def __len__(self) -> int:
        return len(self._places)

    def read(self, chunks: Sequence[Indices]) -> Any:
        return self._column.read([self._places[chunk] for chunk in chunks])


def _is_step(wanted: Input, column: Column) -> bool:
    return wanted.dims is not None and all(len(shape) == len(wanted.sample_dims) for shape in column.shapes)


def _key(found: Found, group: Any, total: int) -> Array:
    """Whose a row is, where rows are steps: its group, or one sequence for all."""
    column = found.columns.get(group) if isinstance(group, str) else None
    if found.groups is not None:
        return found.groups
    if column is None or isinstance(column, np.ndarray):
        return np.zeros(total, np.intp)
    return np.asarray(next(iter(column.read([np.arange(total)]))))


def _stretches(keys: Array) -> Steps:
    """A sequence for every stretch of equal keys."""
    new = np.concatenate([[True], keys[1:] != keys[:-1]])
    whose = np.cumsum(new) - 1
    return Steps(whose, np.arange(len(keys)) - np.flatnonzero(new)[whose])


def _flat(column: Column, name: str) -> tuple[Column, Indices]:
    """The rows of ``column`` as steps, in place where that is possible, and how many each has."""
    if isinstance(column, Chain):
        parts = [_flat(part, name) for part in column.columns]
        return chained([part for part, _ in parts], [name] * len(parts)), np.concatenate([n for _, n in parts])
    if isinstance(column, FileColumn) and not column.fortran and len(column.shape) > 1:
        count, length, *rest = column.shape
        return replace(column, shape=(count * length, *rest)), np.full(count, length)
    if isinstance(column, ArrayColumn) and column.array.ndim > 1:
        count, length, *rest = column.array.shape
        return ArrayColumn(column.array.reshape(count * length, *rest)), np.full(count, length)
    spool, lengths = Spool(name), []
    for rows in column.read([np.array([i]) for i in range(len(column))]):
        spool.append(rows[0])
        lengths.append(len(rows[0]))
    return spool.column(), np.array(lengths, np.intp)


def _aside(column: Column | Array, steps: Steps) -> Column | Array:
    """Labels, groups, or one value for all: those of a sequence hold for each of its steps."""
    if isinstance(column, np.ndarray):
        return column
    lengths = np.bincount(steps.sequence)
    if all(column.shapes) and len(column) == len(lengths):
        flat, own = _flat(column, "labels")
        if np.array_equal(own, lengths):
            return flat
    return _Placed(column, steps.sequence) if len(column) == len(lengths) else column


def _zeros(wanted: Input, sizes: Mapping[str, int]) -> Array:
    shape = []
    for dim in wanted.sample_dims:
        size = dim if isinstance(dim, int) else sizes.get(dim or "")
        if size is None or wanted.dims is None:
            raise UnsupportedError(
                f"--state: the size of '{wanted.name}' {wanted} is free, so its start is not known",
                hint=f"give it with --dim {dim or 'NAME'}=N",
            )
        shape.append(size)
    return np.zeros(shape, wanted.dtype.numpy())


def _fed(row: Array, axis: int | None) -> Array:
    return row if axis is None else np.expand_dims(row, axis)


def _back(value: Any, before: Array, output: str, wanted: str) -> Array:
    if not isinstance(value, np.ndarray) or value.shape != before.shape or value.dtype != before.dtype:
        got = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else "no tensor"
        raise InvalidDataError(
            f"--state {output}={wanted}: the output is {got}, expected {before.dtype} of shape {before.shape}",
            hint="what is fed back has to be what the input takes",
        )
    return value


def _some(lengths: Rows | Indices) -> str:
    listed = [str(n) for n in np.asarray(lengths[:3]).tolist()]
    return f"{len(lengths)} sequences of {', '.join(listed)}{', …' if len(lengths) > 3 else ''} steps"
