"""Texts for a decoder: whole sequences of tokens become the runs that serving makes of them.

A text is a row of ids, as long as it is. Its prompt is one run, and the tokens after it are one each, with the cache that
the model really has there (:func:`onnxslim.data.sequences.carry_state`). Where the data hold a mask of the ids, what it
leaves out is no part of the text. Everything else that the model takes (an encoder's states) has one row a text.
"""

from __future__ import annotations

from collections.abc import Sequence, Sized
from dataclasses import replace

import numpy as np

from onnxslim.core.errors import InvalidDataError
from onnxslim.data.columns import Array, Column
from onnxslim.data.reader import ReaderResult
from onnxslim.data.samples import StepIndex
from onnxslim.data.spool import Spool
from onnxslim.data.states.step_columns import ReindexedColumn
from onnxslim.data.states.token_layout import TokenLayout

#: Tokens of a made-up text.
DEFAULT_TEXT_TOKENS = 32


def are_texts(column: Column | Array | None) -> bool:
    """Whether the rows of ``column`` are ids in one line."""
    return column is not None and not isinstance(column, np.ndarray) and all(len(shape) == 1 for shape in column.shapes)


def read_texts(layout: TokenLayout, ids: Column, mask: Column | None, title: str) -> list[Array]:
    """The ids of each text, shape (tokens,), without what ``mask`` leaves out.

    Raises:
        InvalidDataError: No integers, an id that is none of the vocabulary, fewer than two tokens, more than the model has
            positions for, or a mask of another number of texts.
    """
    if ids.dtype.kind not in "iu":
        raise InvalidDataError(f"'{layout.ids.name}' is {ids.dtype.name}, expected ids of tokens", hint="give integers")
    texts = _read_rows(ids)
    if mask is not None:
        _check_row_count(mask, len(texts), "the mask", title)
        masks = _read_rows(mask)
        for number, (text, kept) in enumerate(zip(texts, masks, strict=True)):
            if kept.shape != text.shape:
                raise InvalidDataError(f"{title}: the mask of text {number} has shape {kept.shape}, its ids {text.shape}")
        texts = [text[kept.astype(bool)] for text, kept in zip(texts, masks, strict=True)]
    for number, text in enumerate(texts):
        if len(text) < 2:
            raise InvalidDataError(
                f"{title}: text {number} has {len(text)} tokens, expected at least 2",
                hint="a decoder is judged by a prompt and what follows it; leave such texts out",
            )
        if text.min() < 0 or (layout.ids.limit is not None and text.max() >= layout.ids.limit):
            wrong = text.min() if text.min() < 0 else text.max()
            size = layout.ids.limit or "unknown"
            raise InvalidDataError(
                f"{title}: text {number} has token {wrong}, which is outside the vocabulary (0 to {size} exclusive)",
                hint="tokenize with the model's own tokenizer; padding is left out by an attention mask",
            )
        if layout.limit is not None and len(text) > layout.limit:
            what = "what its cache holds" if layout.limit == layout.capacity else "the model's positions"
            raise InvalidDataError(
                f"{title}: text {number} has {len(text)} tokens, expected at most {layout.limit}, {what}",
                hint="cut the texts",
            )
    return texts


def list_runs(
    layout: TokenLayout, texts: Sequence[Array], result: ReaderResult, others: Sequence[str]
) -> tuple[ReaderResult, StepIndex]:
    """The runs of ``texts`` end to end, each with its tokens and what counts along, and where each belongs.

    Args:
        layout: How tokens are fed.
        texts: Their ids.
        result: What the reader found.
        others: The keys of columns with a row a text: the other inputs, groups.

    Raises:
        InvalidDataError: One of them has another number of rows.
    """
    spools = {i.name: Spool(f"'{i.name}'") for i in (layout.ids, *layout.derived)}
    sequence, time = [], []
    for number, text in enumerate(texts):
        starts = layout.list_starts(len(text))
        for step, (start, stop) in enumerate(zip(starts, [*starts[1:], len(text)], strict=True)):
            for name, tensor in layout.make_feeds(text[start:stop], start).items():
                spools[name].append(tensor if name == layout.ids.name or _has_batch(layout, name) else tensor[None])
            sequence.append(number)
            time.append(step)
    steps = StepIndex(np.array(sequence, np.intp), np.array(time, np.intp))
    columns: dict[str, Column | Array] = {name: spool.to_column() for name, spool in spools.items()}
    for key, column in result.columns.items():
        if key in others:
            if not isinstance(column, np.ndarray):
                _check_row_count(column, len(texts), f"'{key}'", result.title)
            columns[key] = column if isinstance(column, np.ndarray) else ReindexedColumn(column, steps.sequence)
    if result.groups is not None:
        _check_row_count(result.groups, len(texts), "the column of groups", result.title)
    groups = None if result.groups is None else result.groups[steps.sequence]
    return replace(result, columns=columns, labels=None, groups=groups), steps


def _check_row_count(rows: Sized, count: int, name: str, title: str) -> None:
    """Check that there is a row of ``rows``, called ``name``, for each of ``count`` texts.

    Raises:
        InvalidDataError: There is not.
    """
    if len(rows) != count:
        raise InvalidDataError(f"{title}: {name} has {len(rows)} rows, expected {count}, one for each text")


def _has_batch(layout: TokenLayout, name: str) -> bool:
    """Whether the first axis of what ``name`` is fed with counts samples, so that its rows are those of the column."""
    return any(i.name == name and len(i.dims or ()) == 2 for i in (*layout.masks, *layout.positions))


def _read_rows(column: Column) -> list[Array]:
    chunks = [np.array([index]) for index in range(len(column))]
    return [np.asarray(rows[0]) for rows in column.read(chunks)]
