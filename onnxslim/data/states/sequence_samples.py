"""Samples whose state is fed back: sequences, or the texts that a decoder reads, as the runs that serving makes of them."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import numpy as np

from onnxslim.core.errors import OnnxslimError
from onnxslim.data import sequences
from onnxslim.data.reader import LABELS_KEY, ReaderRequest
from onnxslim.data.readers import images, random_data, tables
from onnxslim.data.sample_building import build_samples, check_names
from onnxslim.data.samples import Samples, StepIndex
from onnxslim.data.split import draw_indices
from onnxslim.data.states import texts
from onnxslim.data.states.feedback import StateFeedback
from onnxslim.data.states.token_layout import TokenLayout, find_token_layout


def open_sequences(request: ReaderRequest, reader: ModuleType, feedback: StateFeedback) -> Samples:
    """The steps of sequences, each with the state that the original has there.

    Args:
        request: What was asked for; ``max_samples`` counts sequences.
        reader: The module of :mod:`onnxslim.data.readers` whose source it is.
        feedback: The states that are fed back, with the model that makes them.

    Raises:
        UsageError: A state that the model does not have.
        InvalidDataError: The data do not fit the model.
    """
    feedback.check(request.inputs)
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
        return build_samples(result, replace(request, inputs=inputs, fed_back=state_inputs), steps), steps

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
    # whoever reads one token a run is given whole texts all the same
    token_dim = str((layout.ids.dims or ())[1])
    ids_input = replace(layout.ids, dims=((layout.ids.dims or ())[0], token_dim))
    read_inputs = [ids_input if i is layout.ids else i for i in inputs if i.name not in derived]
    dims = {token_dim: min(texts.DEFAULT_TEXT_TOKENS, layout.limit or texts.DEFAULT_TEXT_TOKENS), **request.dims}
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
        check_names(
            extra, {**dict.fromkeys(i.name for i in read_inputs), **dict.fromkeys(extra)}, reader_request, found.title
        )
    masks = [column for i in layout.masks if (column := found.columns.get(i.name)) is not None and texts.are_texts(column)]
    lines = texts.read_texts(layout, ids, masks[0] if masks else None, found.title)
    if found.labels is not None or (request.labels or LABELS_KEY) in found.columns:
        found.warnings.append(f"{found.title}: labels are not read, texts are judged by the tokens that follow")
    by_text = [i.name for i in read_inputs if i is not ids_input] + [str(request.group)]
    result, steps = texts.list_runs(layout, lines, found, by_text)
    samples = build_samples(result, replace(request, inputs=inputs, labels=None), steps).with_layout(layout)
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
