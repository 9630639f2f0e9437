"""Samples that arrive one after the other: any iterable or dataset, or a reader with ``get_next()``.

An item is one sample or one whole feed (a batch, as loaders give it); a whole feed is taken apart into its samples.
It is spelled as an array (a model with one input), a mapping by input name, or a tuple in the order of the inputs; a
tuple that is one longer ends with the label, as in ``(images, labels)``. Everything is drained once into a temporary
file, because every step reads the samples again. What has a ``title``, a text, is called by it in reports and errors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, OnnxslimError
from onnxslim.data.columns import Array, Column
from onnxslim.data.reader import LABELS_KEY, ReaderRequest, ReaderResult
from onnxslim.data.spool import Spool


def accepts(source: Any) -> bool:
    """An iterable or sequence that is no array, mapping or path, or an object with ``get_next``."""
    if callable(getattr(source, "get_next", None)):
        return True
    by_index = hasattr(source, "__len__") and hasattr(source, "__getitem__")  # as a map-style dataset of torch
    return (isinstance(source, Iterable) or by_index) and not isinstance(source, (str, bytes, Mapping))


def read(request: ReaderRequest) -> ReaderResult:
    """Drain the source.

    Raises:
        InvalidDataError: An item that is no sample of this model, or the source itself raised.
    """
    title = getattr(request.source, "title", None)
    title = title if isinstance(title, str) else type(request.source).__name__
    spools: dict[str, Spool] = {}
    for number, item in enumerate(_iterate_items(request.source, title)):
        where = f"item {number} of the {title}"
        samples = _split_feed(_name_arrays(item, request, where), request)
        if spools and spools.keys() != samples.keys():
            raise InvalidDataError(f"{where} has {', '.join(samples)}; those before have {', '.join(spools)}")
        counts = {key: len(rows) for key, rows in samples.items()}
        if len(set(counts.values())) > 1:
            raise InvalidDataError(f"{where}: numbers of samples differ: {counts}")
        for key, rows in samples.items():
            spools.setdefault(key, Spool(f"'{key}' of the {title}")).append(rows)
    if not spools:
        raise InvalidDataError(f"the {title} gave no samples")
    columns: dict[str, Column | Array] = {key: spool.to_column() for key, spool in spools.items()}
    return ReaderResult(columns, title)


def as_array(value: Any, where: str) -> Array:
    """``value`` as an array; Python strings become an array of strings.

    Raises:
        InvalidDataError: It is no array of numbers or strings.
    """
    try:
        converted = np.asarray(value)
        if converted.dtype.hasobject and converted.size and all(isinstance(v, str) for v in converted.flat):
            converted = converted.astype(np.str_)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidDataError(f"{where} is not an array: {error}") from error
    if converted.dtype.hasobject:
        raise InvalidDataError(f"{where} is a {type(value).__name__}, expected an array of numbers or strings")
    return converted


def _iterate_items(source: Any, title: str) -> Iterator[Any]:
    try:
        if hasattr(source, "get_next"):
            yield from iter(source.get_next, None)
        elif isinstance(source, Iterable):
            yield from source
        else:
            yield from (source[index] for index in range(len(source)))
    except OnnxslimError:
        raise
    except Exception as error:
        raise InvalidDataError(f"the {title} raised {type(error).__name__}: {error}") from error


def _name_arrays(item: Any, request: ReaderRequest, where: str) -> dict[str, Array]:
    """The arrays of one item by the name of the input, or by another key."""
    if isinstance(item, Mapping):
        names = request.map_to_inputs(item)
        return {names[key]: as_array(value, f"{where}: '{key}'") for key, value in item.items()}
    required = [i.name for i in request.inputs if i.required]
    if isinstance(item, tuple) or (isinstance(item, list) and any(hasattr(part, "shape") for part in item)):
        if len(item) not in (len(required), len(required) + 1):
            raise InvalidDataError(f"{where} has {len(item)} arrays, expected {', '.join(required)} and at most a label")
        pairs = zip([*required, LABELS_KEY], item, strict=False)
        return {key: as_array(value, f"{where}: '{key}'") for key, value in pairs}
    if len(required) != 1:
        raise InvalidDataError(f"{where} is one array, expected a tuple or a mapping of {', '.join(required)}")
    return {required[0]: as_array(item, where)}


def _split_feed(item: dict[str, Array], request: ReaderRequest) -> dict[str, Array]:
    """The samples of an item along a new first axis: those of a whole feed, else the item as the only one."""
    inputs = {i.name: i for i in request.inputs}
    feeds = {
        key: inputs[key].split_samples(value) for key, value in item.items() if key in inputs and inputs[key].dims != ()
    }
    counts = {None if rows is None else len(rows) for rows in feeds.values()}
    count = counts.pop() if len(counts) == 1 else None
    if count is None:
        return {key: value[None] for key, value in item.items()}
    # What is no input along an axis is a value of each sample (labels), or of the feed: then it holds for all of them.
    other_arrays = {
        key: value if value.ndim and len(value) == count else np.broadcast_to(value, (count, *value.shape))
        for key, value in item.items()
        if key not in feeds
    }
    return {key: rows for key in item if (rows := feeds.get(key, other_arrays.get(key))) is not None}
