"""Sequences: samples in time order, where an output of one step is an input of the next.

A reader sees a sequence as one sample with a time axis in front: arrays ``(sequences, time, ...)``, or a file each.
Arrays ``(time, ...)`` are one sequence; so are the rows of a table or the images of a folder, unless ``--group`` tells
several apart. :func:`flatten` lays the steps of all sequences end to end, and :func:`carry_state` runs the original once in
time order and keeps what it fed back to itself.

From then on a step is an ordinary sample, fed with the state that the original really had there: calibration, repair,
recovery and profiling need to know nothing about time. Only who judges lets every model carry its own state
(:mod:`onnxslim.runtime.stateful_session`), because there the error that a model feeds back to itself is what counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, OnnxslimError, UnsupportedError
from onnxslim.core.state import advance_state
from onnxslim.data.columns import (
    Array,
    ArrayColumn,
    Column,
    ConcatenatedColumn,
    FileColumn,
    Indices,
    concatenate_columns,
    read_all,
)  # fmt: skip
from onnxslim.data.input_binding import bind_column
from onnxslim.data.model_inputs import Dim, ModelInput
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.samples import Samples, StepIndex
from onnxslim.data.spool import Spool
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.initial_state import InitialState, bind_symbols, find_initial_state
from onnxslim.data.states.step_columns import CacheRecorder, ReindexedColumn

#: What the time axis is called, for made-up data: ``--dim time=100``.
TIME_DIM = "time"
#: Steps of a made-up sequence.
DEFAULT_TIME_STEPS = 32


def add_time_axis(model_input: ModelInput) -> ModelInput:
    """``model_input`` as a reader sees it when a sample is a whole sequence."""
    if model_input.dims is None or model_input.dims == ():
        return model_input
    dims: tuple[Dim, ...] = (None, TIME_DIM, *model_input.sample_dims)
    return replace(model_input, dims=dims, axis=0)


def flatten(
    result: ReaderResult, request: ReaderRequest, inputs: Sequence[ModelInput], *, rows_are_steps: bool
) -> tuple[ReaderResult, StepIndex]:
    """The steps of all sequences of ``result`` end to end, and where each belongs.

    Args:
        result: What the reader found.
        request: What it was asked for.
        inputs: What the model takes, but for the state.
        rows_are_steps: The reader's rows are steps, not sequences.

    Raises:
        InvalidDataError: Inputs of different length in time, or a state among the data.
    """
    names = request.map_to_inputs(result.columns)
    fed_inputs = {i.name: i for i in inputs if i.dims != ()}
    columns = {key: c for key, c in result.columns.items() if not isinstance(c, np.ndarray) and names[key] in fed_inputs}
    if not columns:
        return result, StepIndex(np.zeros(1, np.intp), np.zeros(1, np.intp))  # whatever is missing is said later
    if rows_are_steps or all(_is_step(fed_inputs[names[key]], column) for key, column in columns.items()):
        total = len(next(iter(columns.values())))
        return result, _index_steps(_get_sequence_keys(result, request.group, total))
    flat = {key: _flatten_column(column, f"'{key}'") for key, column in columns.items()}
    first, (_, lengths) = next(iter(flat.items()))
    for key, (_, other_lengths) in flat.items():
        if not np.array_equal(other_lengths, lengths):
            raise InvalidDataError(
                f"{result.title}: '{key}' and '{first}' differ in their numbers of sequences or steps: "
                f"{_format_lengths(other_lengths)} and {_format_lengths(lengths)}"
            )
    sequence_numbers = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    steps = StepIndex(sequence_numbers, np.arange(len(sequence_numbers)) - np.repeat(starts, lengths))
    flattened = replace(
        result,
        columns={key: flat[key][0] if key in flat else _expand_auxiliary(c, steps) for key, c in result.columns.items()},
        labels=None if result.labels is None else result.labels[sequence_numbers],
        groups=None if result.groups is None else result.groups[sequence_numbers],
    )
    return flattened, steps


def carry_state(samples: Samples, feedback: StateFeedback, inputs: Sequence[ModelInput], dims: Mapping[str, int]) -> Samples:
    """``samples`` with the state inputs that the original has at each step; every sequence starts from zeros.

    Args:
        samples: Sequences without state; their ``steps`` are known.
        feedback: The pairs, and what runs the original.
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
    axes = {i.name: i.axis for i in inputs}
    initial_state = _start(samples, feedback, inputs, dims)
    records = {i.name: _make_record(i, initial_state.growing.get(i.name, ())) for i in inputs}
    state: dict[str, Array] = {}
    for batch in samples.batches(1):
        if not samples.continues_previous[batch.indices.start]:
            state = dict(initial_state.tensors)
        for name, value in state.items():
            axis = axes[name]
            rows = value[None] if axis is None else np.moveaxis(value, axis, 0)
            record = records[name]
            record.append(rows if isinstance(record, Spool) else rows[0])
        try:
            outputs = feedback.run({**batch, **state})
        except OnnxslimError as error:
            if samples.layout is None:
                raise
            raise _refuse_text(samples, batch.indices.start, error) from error
        after = advance_state(feedback.pairs, state, outputs)
        for output, name in feedback.pairs.items():
            _check_state(after[name], state[name], output, name, initial_state.growing.get(name, ()))
        state = after
    columns = {i.name: ReindexedColumn(records[i.name].to_column(), samples.source_positions) for i in inputs}
    feeds = [bind_column(i, columns[i.name], i.name) for i in inputs]
    return samples.with_feeds(feeds, feedback.pairs, [*feedback.notes, *initial_state.notes])


def _make_record(model_input: ModelInput, growing: Sequence[int]) -> Spool | CacheRecorder:
    """What keeps the state at each step: all of it, or of a cache that fills along one axis what it held last."""
    name, batch_axis = f"the state '{model_input.name}'", model_input.axis
    axis = growing[0] if len(growing) == 1 else model_input.written_axis
    if axis is None or axis == batch_axis:
        return Spool(name)
    return CacheRecorder(name, axis - (batch_axis is not None and axis > batch_axis))


def _refuse_text(samples: Samples, index: int, error: OnnxslimError) -> OnnxslimError:
    """What to say of a text that the original does not run with, at sample ``index``."""
    sequences, times = samples.sequences, samples.times
    assert sequences is not None
    assert times is not None
    where = f"text {int(sequences[index])}, run {int(times[index])}"
    return InvalidDataError(
        f"{samples.source}: the model does not run with {where} (0 is the prompt): {error.message}",
        hint="texts hold tokens of the model's vocabulary, and are no longer than its positions",
    )


def _start(samples: Samples, feedback: StateFeedback, inputs: Sequence[ModelInput], dims: Mapping[str, int]) -> InitialState:
    """What every sequence starts from; sizes that the data tell go before those of ``dims``."""
    first_feeds = next(samples.batches(1))
    sizes = {**dims, **bind_symbols([feed.input for feed in samples.feeds], first_feeds)}
    return find_initial_state(feedback, inputs, first_feeds, sizes, free_size=1 if samples.layout is None else 0)


def _is_step(model_input: ModelInput, column: Column) -> bool:
    return model_input.dims is not None and all(len(shape) == len(model_input.sample_dims) for shape in column.shapes)


def _get_sequence_keys(result: ReaderResult, group: Any, total: int) -> Array:
    """Whose a row is, where rows are steps: its group, or one sequence for all."""
    column = result.columns.get(group) if isinstance(group, str) else None
    if result.groups is not None:
        return result.groups
    if column is None or isinstance(column, np.ndarray):
        return np.zeros(total, np.intp)
    return read_all(column)


def _index_steps(keys: Array) -> StepIndex:
    """A sequence for every stretch of equal keys."""
    is_start = np.concatenate([[True], keys[1:] != keys[:-1]])
    sequence_numbers = np.cumsum(is_start) - 1
    return StepIndex(sequence_numbers, np.arange(len(keys)) - np.flatnonzero(is_start)[sequence_numbers])


def _flatten_column(column: Column, name: str) -> tuple[Column, Indices]:
    """The rows of ``column`` as steps, in place where that is possible, and how many each has."""
    if isinstance(column, ConcatenatedColumn):
        parts = [_flatten_column(part, name) for part in column.columns]
        return concatenate_columns([part for part, _ in parts], [name] * len(parts)), np.concatenate([n for _, n in parts])
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
    return spool.to_column(), np.array(lengths, np.intp)


def _expand_auxiliary(column: Column | Array, steps: StepIndex) -> Column | Array:
    """Labels, groups, or one value for all: those of a sequence hold for each of its steps."""
    if isinstance(column, np.ndarray):
        return column
    lengths = np.bincount(steps.sequence)
    if all(column.shapes) and len(column) == len(lengths):
        flat, step_counts = _flatten_column(column, "labels")
        if np.array_equal(step_counts, lengths):
            return flat
    return ReindexedColumn(column, steps.sequence) if len(column) == len(lengths) else column


def _check_state(value: Any, previous: Array, output: str, input_name: str, growing: Sequence[int]) -> None:
    """Refuse a ``value`` that differs from the state before along another than the ``growing`` axes."""
    expected = list(previous.shape)
    if isinstance(value, np.ndarray) and value.ndim == previous.ndim:
        for axis in growing:
            expected[axis] = value.shape[axis]
    if not isinstance(value, np.ndarray) or list(value.shape) != expected or value.dtype != previous.dtype:
        description = f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else "no tensor"
        raise InvalidDataError(
            f"--state {output}={input_name}: the output is {description}, "
            f"expected {previous.dtype} of shape {previous.shape}",
            hint="what is fed back has to be what the input takes",
        )


def _format_lengths(lengths: Indices) -> str:
    first_lengths = [str(n) for n in lengths[:3].tolist()]
    return f"{len(lengths)} sequences of {', '.join(first_lengths)}{', …' if len(lengths) > 3 else ''} steps"
