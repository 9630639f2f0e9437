"""Opening data: whatever the user has becomes :class:`~onnxslim.data.samples.Samples`, checked against the model."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.data import arrayfolder, arrays, code, images, npz, sequences, streams, synthetic, tables
from onnxslim.data.arrayfiles import MAX_SAMPLE_BYTES
from onnxslim.data.columns import Array, ArrayColumn, Column, whole
from onnxslim.data.feeds import feed
from onnxslim.data.inputs import inputs_of
from onnxslim.data.request import Found, Request
from onnxslim.data.samples import Samples, Steps
from onnxslim.data.sequences import Carry
from onnxslim.data.split import draw
from onnxslim.errors import InvalidDataError, LimitError, OnnxslimError, UnsupportedError, UsageError

#: The sources, in the order they are asked whether a source is theirs. To add one, write a module with ``accepts``
#: and ``read`` (see :mod:`onnxslim.data.request`) and put it here.
READERS: tuple[ModuleType, ...] = (synthetic, npz, arrayfolder, images, tables, arrays, streams)


def open_samples(
    source: Any,
    model: ir.Model,
    *,
    labels: Any = None,
    preprocess: str | None = None,
    max_samples: int | None = None,
    seed: int = 0,
    group: Any = None,
    dims: Mapping[str, int] | None = None,
    allow_random: bool = True,
    allow_code: bool = False,
    runs: Callable[[Mapping[str, Array]], bool] | None = None,
    carry: Carry | None = None,
) -> Samples:
    """Samples for ``model`` from ``source``, checked for names, dtypes, ranks and fixed dimensions.

    Args:
        source: The path of an ``.npz`` with an array per input, of an ``.npy`` (a model with one input), of a folder
            of such files or of images, of a csv ``file,label``, or of a table (csv, parquet, arrow); the word
            ``random``; ``package.module:function``; an array, a mapping of arrays by input, an iterable of samples or
            feeds, or an object with ``get_next()``.
            In arrays the first axis counts samples.
        model: What the samples are for.
        labels: The key of the labels (``labels`` when there is one), the csv of a folder, or the labels themselves.
        preprocess: How images become arrays: see :mod:`onnxslim.data.preprocess`, or the path of a Hugging Face
            ``preprocessor_config.json``.
        max_samples: Draw at most so many, by ``seed``, in proportion to the labels.
        seed: Of every draw.
        group: What must stay together when a share is held back: a key, ``subfolder``, or one group per sample.
        dims: Sizes of free dimensions, for random data.
        allow_random: Take ``random`` for an answer.
        allow_code: Import and call a function that the source names.
        runs: Whether the model runs with these inputs; random data get larger free dimensions where it does not.
        carry: The data are sequences whose state is fed back (:mod:`onnxslim.data.sequences`); then ``max_samples``
            counts sequences, and what stays together is a sequence.

    Raises:
        UsageError: No data, no such file or kind of source, a wrong ``preprocess``, code that was not allowed.
        InvalidDataError: The data do not fit the model, or are broken; names the key and what was expected.
        UnsupportedError: The model's inputs are not tensors.
        LimitError: The data are too large for any use.
    """
    if source is None:
        raise UsageError("no data given", hint="give the data the model was made for with --data")
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples {max_samples}: expected at least 1")
    if code.named(source) and not os.path.exists(source):
        source = code.call(source, allow_code)
    inputs = inputs_of(model)
    if not inputs:
        raise UnsupportedError("the model takes no inputs, so there is nothing to feed it with")
    request = Request(source, inputs, labels, group, preprocess, max_samples, seed, dict(dims or {}))
    if carry is not None:
        return _sequences(request, carry, allow_random)
    reader = _reader(request, allow_random)
    samples = _samples(reader.read(request), request)
    if reader is synthetic and runs is not None:
        samples = _running(samples, request, runs)
    total = len(samples)
    if max_samples is None or max_samples >= total:
        return samples
    chosen = draw(samples.labels, total, max_samples, seed)
    return samples.take(chosen, source=f"{samples.source}, {max_samples} of {total} samples (seed {seed})")


def _sequences(request: Request, how: Carry, allow_random: bool) -> Samples:
    """The steps of sequences, each with the state that the original has there."""
    how.check(request.inputs)
    fed_back = set(how.pairs.values())
    inputs = [i for i in request.inputs if i.name not in fed_back]
    reader = _reader(request, allow_random)
    rows = reader in (images, tables)
    dims = {sequences.TIME: sequences.TIME_STEPS, **request.dims}
    asked = replace(
        request, inputs=inputs if rows else [sequences.timed(i) for i in inputs], dims=dims, max_samples=None
    )
    states = [i for i in request.inputs if i.name in fed_back]

    def read(asked: Request) -> tuple[Samples, Steps]:
        found, steps = sequences.flatten(reader.read(asked), asked, inputs, rows=rows)
        return _samples(found, replace(request, inputs=inputs), steps), steps

    def runs(asked: Request) -> bool:
        try:
            sequences.carry(read(asked)[0].take([0]), how, states, request.dims)
        except OnnxslimError:
            return False
        return True

    if reader is synthetic:
        asked = next((each for each in (asked, *synthetic.grown(asked)) if runs(each)), asked)
    samples, steps = read(asked)
    total = int(steps.sequence.max()) + 1
    wanted = request.max_samples
    if wanted is not None and wanted < total:
        labels = None if samples.labels is None else samples.labels[steps.time == 0]
        chosen = draw(labels, total, wanted, request.seed)
        source = f"{samples.source}, {wanted} of {total} sequences (seed {request.seed})"
        samples = samples.take(np.flatnonzero(np.isin(steps.sequence, chosen)), source=source)
    return sequences.carry(samples, how, states, request.dims)


def _reader(request: Request, allow_random: bool) -> ModuleType:
    source = request.source
    reader = next((reader for reader in READERS if reader.accepts(source)), None)
    if reader is synthetic and not allow_random:
        raise UsageError("random data prove nothing here", hint="give real data")
    if reader is None:
        if isinstance(source, (str, os.PathLike)) and not os.path.exists(source):
            raise UsageError(f"{os.fspath(source)}: no such file or folder")
        raise UsageError(
            f"{source!r:.80} is not data this tool reads",
            hint="an .npz of arrays by input name is the simplest form; see the data formats in the README",
        )
    if request.preprocess is not None and reader is not images:
        raise UsageError("--preprocess applies to image folders only", hint="store arrays as the model takes them")
    return reader


def _running(first: Samples, request: Request, runs: Callable[[Mapping[str, Array]], bool]) -> Samples:
    """Made-up samples of the first sizes that the model runs with; ``first`` when there are no others, or none do."""
    larger = list(synthetic.grown(request))
    if not larger or runs(next(first.batches(1))):
        return first
    made = (_samples(synthetic.read(each), request) for each in larger)
    return next((samples for samples in made if runs(next(samples.batches(1)))), first)


def _samples(found: Found, request: Request, steps: Steps | None = None) -> Samples:
    names = request.names(found.columns)
    columns = {names[key]: (key, column) for key, column in found.columns.items()}
    labels = _aside(request.labels, columns, found.labels, request, "labels")
    groups = _aside(request.group, columns, found.groups, request, "group")
    for aside in request.asides:
        columns.pop(aside, None)
    _check_names([key for key, _ in columns.values()], columns, request, found.title)
    lengths = {key: len(column) for key, column in columns.values() if not isinstance(column, np.ndarray)}
    first, total = next(iter(lengths.items()), ("", 1))
    for key, length in lengths.items():
        if length != total:
            raise InvalidDataError(
                f"{found.title}: '{key}' has {length} samples, '{first}' has {total}",
                hint="the first axis counts samples; one value for all of them is a 0-d array",
            )
    feeds = []
    for wanted in request.inputs:
        if wanted.name in columns:
            key, column = columns[wanted.name]
            if isinstance(column, np.ndarray):
                column = ArrayColumn(np.broadcast_to(column, (total,)))
            feeds.append(feed(wanted, column, key))
    if labels is not None:
        labels = _checked_labels(labels, total, found.title)
    if groups is not None and groups.shape != (total,):
        raise InvalidDataError(
            f"{found.title}: groups of shape {groups.shape}, expected one for each of {total} samples"
        )
    return Samples(feeds, source=found.title, labels=labels, groups=groups, warnings=found.warnings, steps=steps)


def _check_names(keys: list[str], names: Mapping[str, Any], request: Request, title: str) -> None:
    known = {i.name for i in request.inputs}
    expected = ", ".join(f"'{i.name}' {i}" for i in request.inputs)
    for wanted in request.required:
        if wanted.name not in names:
            have = ", ".join(f"'{key}'" for key in keys) or "no arrays"
            state = f"an output that is fed back to '{wanted.name}' is named with --state OUT={wanted.name}"
            hint = state if known & {*keys} else None
            raise InvalidDataError(f"{title} has {have}; the model expects {expected}", hint=hint)
    for key in names:
        if key not in known:
            raise InvalidDataError(
                f"{title}: '{key}' is not an input of the model, which expects {expected}",
                hint="remove it, or say that it holds the labels with --labels",
            )


def _aside(
    spelled: Any,
    columns: Mapping[str, tuple[str, Column | Array]],
    elsewhere: Array | None,
    request: Request,
    option: str,
) -> Array | None:
    """Labels or groups: those the caller gave, those under a key, or what the reader found elsewhere."""
    if spelled is not None and not isinstance(spelled, (str, os.PathLike)):
        return streams.array(spelled, option)
    if elsewhere is not None:
        return elsewhere
    default = "labels" if option == "labels" and "labels" in request.asides else None
    key = default if spelled is None else os.fspath(spelled)
    if key is None or (key == default and key not in columns):
        return None
    if key not in columns:
        have = ", ".join(f"'{other}'" for other in columns)
        raise InvalidDataError(f"--{option} {key}: there is no such key, only {have}")
    column = columns[key][1]
    if isinstance(column, np.ndarray):
        raise InvalidDataError(f"'{key}' is a single value, expected one for each sample")
    if len(column.shapes) > 1:
        raise InvalidDataError(f"'{key}' has {option} of different shapes: {', '.join(map(str, column.shapes))}")
    if (size := len(column) * math.prod(next(iter(column.shapes))) * column.dtype.itemsize) > MAX_SAMPLE_BYTES:
        raise LimitError(f"'{key}' takes {size} bytes; at most {MAX_SAMPLE_BYTES} can be held as {option}")
    return whole(column)


def _checked_labels(labels: Array, total: int, title: str) -> Array:
    """Labels as numbers, one (or one array) per sample; a trailing axis of one is dropped."""
    if labels.dtype.kind not in "biuf":
        raise InvalidDataError(f"{title}: labels are {labels.dtype.name}, expected numbers", hint="give class indices")
    if labels.ndim == 0 or len(labels) != total:
        count = len(labels) if labels.ndim else 1
        raise InvalidDataError(f"{title}: {count} labels for {total} samples, expected one for each")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidDataError(f"{title}: label {int(np.flatnonzero(~np.isfinite(labels))[0])} is not finite")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
