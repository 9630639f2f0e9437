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

from onnxslim.core.errors import InvalidDataError, LimitError, OnnxslimError, UnsupportedError, UsageError
from onnxslim.core.user_functions import is_function_reference
from onnxslim.data import sequences
from onnxslim.data.array_files import MAX_SAMPLE_BYTES
from onnxslim.data.columns import Array, Column, read_all
from onnxslim.data.input_binding import bind_columns, find_fixed_batch
from onnxslim.data.model_inputs import get_model_inputs
from onnxslim.data.reader import LABELS_KEY, ReaderRequest, ReaderResult
from onnxslim.data.readers import array_folder, arrays, images, iterables, npz, random_data, tables
from onnxslim.data.samples import Samples, StepIndex, too_few_samples
from onnxslim.data.split import draw_indices, draw_samples
from onnxslim.data.states import texts
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.pairs import describe_pairs, find_state_pairs, get_model_outputs
from onnxslim.data.states.token_layout import TokenLayout, find_token_layout
from onnxslim.data.user_functions import call_reader

#: Why a model does not run with some inputs; None where it does.
RunCheck = Callable[[Mapping[str, Array]], OnnxslimError | None]
#: The sources, in the order they are asked whether a source is theirs. To add one, write a module with ``accepts``
#: and ``read`` (see :mod:`onnxslim.data.reader`) and put it here.
READERS: tuple[ModuleType, ...] = (random_data, npz, array_folder, images, tables, arrays, iterables)


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
    run_check: RunCheck | None = None,
    feedback: StateFeedback | None = None,
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
        preprocess: How images become arrays: see :mod:`onnxslim.data.preprocessing.image_transform`, or the path of a
            Hugging Face ``preprocessor_config.json``.
        max_samples: Draw at most so many, by ``seed``, in proportion to the labels.
        seed: Of every draw.
        group: What must stay together when a share is held back: a key, ``subfolder``, or one group per sample.
        dims: Sizes of free dimensions, for random data.
        allow_random: Take ``random`` for an answer.
        allow_code: Import and call a function that the source names.
        run_check: Why the model does not run with these inputs, if it does not; random data then get larger free
            dimensions.
        feedback: The data are sequences whose state is fed back (:mod:`onnxslim.data.sequences`); then ``max_samples``
            counts sequences, and what stays together is a sequence.

    Raises:
        UsageError: No data, no such file or kind of source, a wrong ``preprocess``, code that was not allowed; or random
            data that the model does not run with.
        InvalidDataError: The data do not fit the model, or are broken; names the key and what was expected.
        UnsupportedError: The model's inputs are not tensors.
        LimitError: The data are too large for any use.
    """
    if source is None:
        raise UsageError("no data given", hint="give the data the model was made for with --data")
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples {max_samples}: expected at least 1")
    if is_function_reference(source) and not os.path.exists(source):
        source = call_reader(source, allow_code)
    inputs = get_model_inputs(model)
    if not inputs:
        raise UnsupportedError("the model takes no inputs, so there is nothing to feed it with")
    request = ReaderRequest(
        source, inputs, labels, group, preprocess, max_samples, seed, dict(dims or {}), outputs=get_model_outputs(model)
    )
    if feedback is not None:
        return _open_sequences(request, feedback, allow_random)
    reader = _find_reader(request, allow_random)
    samples = _build_samples(reader.read(request), request)
    if reader is random_data and run_check is not None:
        samples = _find_runnable(samples, request, run_check)
    total = len(samples)
    if max_samples is None or max_samples >= total or reader is random_data:
        return samples
    if max_samples < (samples.fixed_batch or 1):
        raise too_few_samples(f"--max-samples {max_samples}", max_samples, samples.fixed_batch)
    drawn = draw_samples(samples, max_samples, seed)
    return samples.take(drawn, source=f"{samples.source}, {len(drawn)} of {total} samples (seed {seed})")


def _open_sequences(request: ReaderRequest, feedback: StateFeedback, allow_random: bool) -> Samples:
    """The steps of sequences, each with the state that the original has there."""
    feedback.check(request.inputs)
    reader = _find_reader(request, allow_random)
    layout = find_token_layout(request.inputs, feedback.pairs)
    if layout is not None and (samples := _open_texts(request, reader, feedback, layout)) is not None:
        return samples
    fed_back = set(feedback.pairs.values())
    inputs = [i for i in request.inputs if i.name not in fed_back]
    rows_are_steps = reader in (images, tables)
    dims = {sequences.TIME_DIM: sequences.DEFAULT_TIME_STEPS, **request.dims}
    reader_request = replace(
        request,
        inputs=inputs if rows_are_steps else [sequences.add_time_axis(i) for i in inputs],
        dims=dims,
        max_samples=None,
    )
    state_inputs = [i for i in request.inputs if i.name in fed_back]

    def read(reader_request: ReaderRequest) -> tuple[Samples, StepIndex]:
        found = reader.read(reader_request)
        feedback.check_fed(request.inputs, list(request.map_to_inputs(found.columns).values()))
        result, steps = sequences.flatten(found, reader_request, inputs, rows_are_steps=rows_are_steps)
        return _build_samples(result, replace(request, inputs=inputs, fed_back=state_inputs), steps), steps

    def can_run(reader_request: ReaderRequest) -> bool:
        try:
            sequences.carry_state(read(reader_request)[0].take([0]), feedback, state_inputs, request.dims)
        except OnnxslimError:
            return False
        return True

    if reader is random_data:
        reader_request = next(
            (candidate for candidate in (reader_request, *random_data.enlarge_dims(reader_request)) if can_run(candidate)),
            reader_request,
        )
    samples, steps = read(reader_request)
    return sequences.carry_state(_draw_sequences(samples, steps, request), feedback, state_inputs, request.dims)


def _open_texts(request: ReaderRequest, reader: ModuleType, feedback: StateFeedback, layout: TokenLayout) -> Samples | None:
    """The runs that a decoder makes of texts; None where the data spell out every step."""
    fed_back = set(feedback.pairs.values())
    state_inputs = [i for i in request.inputs if i.name in fed_back]
    derived = {i.name for i in layout.derived}
    inputs = [i for i in request.inputs if i.name not in fed_back]
    read_inputs = [i for i in inputs if i.name not in derived]
    dims = {str((layout.ids.dims or ())[1]): texts.DEFAULT_TEXT_TOKENS, **request.dims}
    reader_request = replace(request, inputs=read_inputs, dims=dims, fed_back=state_inputs)
    found = reader.read(reader_request)
    names = reader_request.map_to_inputs(found.columns)
    found.columns = {names[key]: column for key, column in found.columns.items()}
    ids = found.columns.get(layout.ids.name)
    if ids is None or isinstance(ids, np.ndarray) or not texts.are_texts(ids):
        return None
    feedback.check_fed(request.inputs, [*found.columns, *derived])
    extra = [key for key in found.columns if key not in (*(i.name for i in inputs), *request.auxiliary_keys)]
    if extra:
        _check_names(
            extra, {**dict.fromkeys(i.name for i in read_inputs), **dict.fromkeys(extra)}, reader_request, found.title
        )
    masks = [column for i in layout.masks if (column := found.columns.get(i.name)) is not None and texts.are_texts(column)]
    lines = texts.read_texts(layout, ids, masks[0] if masks else None, found.title)
    if found.labels is not None or (request.labels or LABELS_KEY) in found.columns:
        found.warnings.append(f"{found.title}: labels are not read, texts are judged by the tokens that follow")
    by_text = [i.name for i in read_inputs if i is not layout.ids] + [str(request.group)]
    result, steps = texts.list_runs(layout, lines, found, by_text)
    samples = _build_samples(result, replace(request, inputs=inputs, labels=None), steps).with_layout(layout)
    return sequences.carry_state(_draw_sequences(samples, steps, request), feedback, state_inputs, request.dims)


def _draw_sequences(samples: Samples, steps: StepIndex, request: ReaderRequest) -> Samples:
    """At most ``max_samples`` whole sequences."""
    total, wanted = int(steps.sequence.max()) + 1, request.max_samples
    if wanted is None or wanted >= total:
        return samples
    labels = None if samples.labels is None else samples.labels[steps.time == 0]
    drawn = draw_indices(labels, total, wanted, request.seed)
    source = f"{samples.source}, {wanted} of {total} sequences (seed {request.seed})"
    return samples.take(np.flatnonzero(np.isin(steps.sequence, drawn)), source=source)


def _find_reader(request: ReaderRequest, allow_random: bool) -> ModuleType:
    source = request.source
    reader = next((reader for reader in READERS if reader.accepts(source)), None)
    if reader is random_data and not allow_random:
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


def _find_runnable(initial: Samples, request: ReaderRequest, run_check: RunCheck) -> Samples:
    """Made-up samples of the first sizes that the model runs with.

    Floats of the sizes that a model fixes are not tried: it runs with any.

    Raises:
        UsageError: It runs with none.
        OnnxslimError: It does not run here, whatever the inputs.
    """
    required = request.required_inputs
    if all(i.number_kind == "floats" and all(isinstance(d, int) for d in i.sample_dims) for i in required):
        return initial
    if (reason := run_check(next(initial.batches(1)))) is None:
        return initial
    candidates = (_build_samples(random_data.read(larger), request) for larger in random_data.enlarge_dims(request))
    found = next((samples for samples in candidates if run_check(next(samples.batches(1))) is None), None)
    if found is not None:
        return found
    if isinstance(reason, (UnsupportedError, LimitError)):
        raise reason
    raise UsageError(
        f"the model does not run with inputs made up at random: {reason.message}",
        hint=f"{random_data.REAL_DATA_HINT}; --dim NAME=SIZE sets a free dimension",
    )


def _build_samples(result: ReaderResult, request: ReaderRequest, steps: StepIndex | None = None) -> Samples:
    names = request.map_to_inputs(result.columns)
    columns = {names[key]: (key, column) for key, column in result.columns.items()}
    labels = _resolve_auxiliary(request.labels, columns, result.labels, request, "labels")
    groups = _resolve_auxiliary(request.group, columns, result.groups, request, "group")
    for auxiliary_key in request.auxiliary_keys:
        columns.pop(auxiliary_key, None)
    _check_names([key for key, _ in columns.values()], columns, request, result.title)
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


def _check_names(keys: list[str], names: Mapping[str, Any], request: ReaderRequest, title: str) -> None:
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
