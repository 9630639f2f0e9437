"""Texts, one a line: ``.txt``, or ``.jsonl`` with keys; the tokenizer beside the model makes ids of them.

A line of JSON has one text (``text``, ``sentence``…) or two that are read together, as rerankers take them (``query`` and
``document``, ``sentence1`` and ``sentence2``…), and may have a label and a group.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.columns import Array
from onnxslim.data.preprocessing.label_names import number_labels
from onnxslim.data.preprocessing.tokenization import load_text_encoder
from onnxslim.data.reader import ReaderRequest, ReaderResult
from onnxslim.data.readers import labeled_folder
from onnxslim.data.spool import Spool

SUFFIXES = (".txt", ".jsonl")
#: Keys of two texts that are read together, and of one alone.
PAIR_KEYS = (
    ("text", "text_pair"), ("sentence1", "sentence2"), ("premise", "hypothesis"), ("query", "document"),
    ("query", "passage"), ("query", "text"), ("query", "positive"), ("anchor", "positive"), ("question", "context"),
    ("question", "answer"),
)  # fmt: skip
TEXT_KEYS = ("text", "sentence", "content", "query", "document", "passage", "title")
LABEL_KEYS = ("label", "labels")
#: Texts that are tokenized at a time.
_BLOCK = 1024


def accepts(source: Any) -> bool:
    """A path that ends in ``.txt`` or ``.jsonl``."""
    return isinstance(source, (str, os.PathLike)) and Path(source).suffix.lower() in SUFFIXES


def read(request: ReaderRequest) -> ReaderResult:
    """The texts as ids, each as long as it is, kept in a temporary file.

    Raises:
        UsageError: No such file; or nothing says which tokenizer makes ids of it.
        InvalidDataError: No text, not UTF-8, no JSON, a line without a text; names the line.
        UnsupportedError: The package that reads tokenizers is not installed.
    """
    path = check_regular_file(request.source)
    if request.input_configs is None:
        raise UsageError(
            f"{path} holds texts: nothing says how they become ids",
            hint="give the model's folder, or --preprocess FOLDER with the tokenizer.json",
        )
    encoder = load_text_encoder(Path(request.input_configs), request.inputs, [i.name for i in request.required_inputs])
    spools = {name: Spool(f"'{name}' of {path}") for name in encoder.parts}
    labels: list[Any] = []
    groups: list[Any] = []
    lines = (
        _read_jsonl(path, request)
        if path.suffix.lower() == ".jsonl"
        else ((text, None, None) for _, text in _read_lines(path))
    )
    count = 0
    while block := list(islice(lines, _BLOCK)):
        for sample in encoder.encode([text for text, _, _ in block]):
            for name, row in sample.items():
                spools[name].append(row[None])
        labels += [label for _, label, _ in block if label is not None]
        groups += [group for _, _, group in block if group is not None]
        count += len(block)
    if not count:
        raise InvalidDataError(f"{path} holds no text", hint="expected one a line")
    result = ReaderResult({name: spool.to_column() for name, spool in spools.items()}, str(request.source))
    if labels:
        result.labels = _parse_labels(labels, count, request, result.warnings)
    if groups:
        result.groups = np.array([str(group) for group in groups])
    return result


def _read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers as people count."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                raise InvalidDataError(
                    f"{path}: line {number} is not UTF-8 (byte {error.start + 1})",
                    hint=f"for example: iconv -f latin1 -t utf-8 {path.name} > utf8{path.suffix}",
                ) from error
            if "\0" in text:
                raise InvalidDataError(f"{path}: line {number} has a byte of 0", hint="expected a text in UTF-8")
            if text:
                yield number, text


def _read_jsonl(path: Path, request: ReaderRequest) -> Iterator[tuple[str | tuple[str, str], Any, Any]]:
    """The text or texts, label and group of each line; all lines have the keys of the first."""
    keys: Sequence[str] | None = None
    for number, line in _read_lines(path):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InvalidDataError(f"{path}: line {number} is not JSON: {error}") from error
        if isinstance(entry, str):
            entry = {"text": entry}
        if not isinstance(entry, dict):
            raise InvalidDataError(f"{path}: line {number} is a {type(entry).__name__}, expected an object")
        keys = keys or _find_keys(entry, f"{path}: line {number}")
        texts = [entry.get(key) for key in keys]
        for key, text in zip(keys, texts, strict=True):
            if not isinstance(text, str):
                raise InvalidDataError(f"{path}: line {number}: '{key}' is {type(text).__name__}, expected a text")
            if any("\ud800" <= letter <= "\udfff" for letter in text):
                raise InvalidDataError(
                    f"{path}: line {number}: '{key}' has half a surrogate pair, expected whole characters"
                )
        label_keys = (request.labels,) if isinstance(request.labels, str) else LABEL_KEYS
        label = next((entry[key] for key in label_keys if entry.get(key) is not None), None)
        group = entry.get(request.group) if isinstance(request.group, str) else None
        yield (texts[0] if len(texts) == 1 else (texts[0], texts[1])), label, group  # type: ignore[misc]


def _find_keys(entry: Mapping[str, Any], where: str) -> Sequence[str]:
    pair = next((pair for pair in PAIR_KEYS if all(isinstance(entry.get(key), str) for key in pair)), None)
    one = next((key for key in TEXT_KEYS if isinstance(entry.get(key), str)), None)
    if pair is None and one is None:
        have = ", ".join(f"'{key}'" for key in entry) or "no keys"
        raise InvalidDataError(f"{where} has {have}; expected a text under one of {', '.join(TEXT_KEYS)}")
    return pair or (str(one),)


def _parse_labels(labels: list[Any], count: int, request: ReaderRequest, warnings: list[str]) -> Array:
    path = request.source
    if len(labels) != count:
        raise InvalidDataError(f"{path}: {len(labels)} of {count} lines have a label, expected all or none")
    if all(isinstance(label, str) for label in labels):
        named = number_labels(labels, request.input_configs)
        return labeled_folder.parse_labels(labels, str(path), warnings) if named is None else named
    if not all(isinstance(label, (int, float)) for label in labels):
        raise InvalidDataError(f"{path}: labels are {type(labels[0]).__name__}, expected numbers or names of classes")
    return np.array(labels)
