"""From columns to samples: what a reader found is bound to the model's inputs and checked against them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, LimitError
from onnxslim.data.array_files import MAX_SAMPLE_BYTES
from onnxslim.data.columns import Array, Column, read_all
from onnxslim.data.input_binding import bind_columns, find_fixed_batch
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers import iterables
from onnxslim.data.samples import Samples, StepIndex
from onnxslim.data.states.pairs import describe_pairs, find_state_pairs


def build_samples(result: ReaderResult, request: ReaderRequest, steps: StepIndex | None = None) -> Samples:
    """Samples of what a reader found: columns by model input, with labels and groups.

    Args:
        result: What the reader found; keys of its columns are those of the data.
        request: What was asked for.
        steps: Of which sequence and which time each row is, where rows are steps.

    Raises:
        InvalidDataError: A name, a dtype, a shape or labels that do not fit the model.
        LimitError: Labels or groups too large to be held.
    """
    names = request.map_to_inputs(result.columns)
    columns = {names[key]: (key, column) for key, column in result.columns.items()}
    labels = _resolve_auxiliary(request.labels, columns, result.labels, request, "labels")
    groups = _resolve_auxiliary(request.group, columns, result.groups, request, "group")
    for auxiliary_key in request.auxiliary_keys:
        columns.pop(auxiliary_key, None)
    check_names([key for key, _ in columns.values()], columns, request, result.title)
    feeds = bind_columns(request.inputs, columns, result.title)
    total = len(feeds[0].column)
    if labels is not None:
        labels = _check_labels(labels, total, result.title)
    if groups is not None and groups.shape != (total,):
        raise InvalidDataError(f"{result.title}: groups of shape {groups.shape}, expected one for each of {total} samples")
    warnings = list(result.warnings)
    if (batch := find_fixed_batch(feeds) or 1) > 1:
        varying = [f.key for f in feeds if f.is_shared and not f.is_constant]
        if varying and groups is None:
            # what runs together shares those inputs, and so stays together
            groups = np.arange(total) // batch
        warnings += [f"'{key}' is shared by a run: of each {batch} samples the first one's is fed" for key in varying]
    return Samples(feeds, source=result.title, labels=labels, groups=groups, warnings=warnings, steps=steps)


def check_names(keys: list[str], names: Mapping[str, Any], request: ReaderRequest, title: str) -> None:
    """Every required input is there, and nothing else is.

    Args:
        keys: The data's own keys, for the message.
        names: What there is, by model input.
        request: What was asked for.
        title: Of the data, for the message.

    Raises:
        InvalidDataError: A missing or an unknown input, with what the model expects.
    """
    known = {i.name for i in request.inputs}
    expected = ", ".join(f"'{i.name}' {i}" for i in request.required_inputs)
    for model_input in request.required_inputs:
        if model_input.name not in names:
            have = ", ".join(f"'{key}'" for key in keys) or "no arrays"
            hint = _propose_state(model_input.name, request) if known & {*keys} else None
            raise InvalidDataError(f"{title} has {have}; the model expects {expected}", hint=hint)
    for key in names:
        if key not in known and key in {i.name for i in request.fed_back}:
            raise InvalidDataError(
                f"{title}: '{key}' is a state that is fed back, which the data cannot hold as well",
                hint="remove it, or --state: then every sample holds the state that it starts from",
            )
        if key not in known:
            raise InvalidDataError(
                f"{title}: '{key}' is not an input of the model, which expects {expected}",
                hint="remove it, or say that it holds the labels with --labels",
            )


def _propose_state(name: str, request: ReaderRequest) -> str:
    """What ``--state`` could feed to the input ``name``."""
    pairs = find_state_pairs(request.inputs, request.outputs)
    if name in pairs.values():
        return f"--state auto feeds back what the names tell: {describe_pairs(pairs)}; samples are sequences then"
    return f"an output that is fed back to '{name}' is named with --state OUT={name}"


def _resolve_auxiliary(
    option_value: Any,
    columns: Mapping[str, tuple[str, Column | Array]],
    reader_values: Array | None,
    request: ReaderRequest,
    option: str,
) -> Array | None:
    """Labels or groups: those the caller gave, those under a key, or what the reader found elsewhere."""
    if option_value is not None and not isinstance(option_value, (str, os.PathLike)):
        return iterables.as_array(option_value, option)
    if reader_values is not None:
        return reader_values
    default = "labels" if option == "labels" and "labels" in request.auxiliary_keys else None
    key = default if option_value is None else os.fspath(option_value)
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
    return read_all(column)


def _check_labels(labels: Array, total: int, title: str) -> Array:
    """Labels as numbers, one (or one array) per sample; a trailing axis of one is dropped."""
    if labels.dtype.kind not in "biuf":
        raise InvalidDataError(f"{title}: labels are {labels.dtype.name}, expected numbers", hint="give class indices")
    if labels.ndim == 0 or len(labels) != total:
        count = len(labels) if labels.ndim else 1
        raise InvalidDataError(f"{title}: {count} labels for {total} samples, expected one for each")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidDataError(f"{title}: label {int(np.flatnonzero(~np.isfinite(labels))[0])} is not finite")
    return labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
