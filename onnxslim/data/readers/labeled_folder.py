"""The files of a folder and what they are labelled: by sub-folder, or by a csv ``file,label``."""

from __future__ import annotations

import csv
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.array_files import check_regular_file
from onnxslim.data.columns import Array, Column, ColumnRows, Indices, stack_rows
from onnxslim.data.preprocessing.label_names import number_labels
from onnxslim.data.reader import ReaderRequest, ReaderResult


@dataclass
class FileListing:
    """Files in order, and what is known of them.

    Attributes:
        folder: Where they are.
        files: Their paths.
        labels: int64, or float64 from a csv of such numbers; None when unlabelled.
        subfolders: The first folder below ``folder`` that each file lies in, ``""`` for the folder itself.
        by_subfolder: The labels are these.
        warnings: One-line cautions.
    """

    folder: Path
    files: list[Path]
    labels: Array | None
    subfolders: Array
    by_subfolder: bool = False
    warnings: list[str] = field(default_factory=list)


class PerFileColumn(ABC):
    """Arrays of files, one file a row, made when they are read; a kind of file adds ``dtype`` and ``shapes``."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def read(self, chunks: Sequence[Indices]) -> Iterator[ColumnRows]:
        """The arrays of each chunk."""
        for chunk in chunks:
            yield stack_rows([self._make(self._files[row]) for row in chunk])

    @abstractmethod
    def _make(self, file: Path) -> Array:
        """The array of one file."""


def has_files(folder: Path, suffixes: Sequence[str]) -> bool:
    """There is a file with one of ``suffixes`` in ``folder`` or below."""
    return any(name.lower().endswith(tuple(suffixes)) for _, _, names in os.walk(folder) for name in names)


def list_files(folder: Path, suffixes: Sequence[str], table: Path | None = None, configs: str | None = None) -> FileListing:
    """The files with one of ``suffixes`` in ``folder`` and below, in order of name.

    With files in sub-folders only, the sub-folders in order of name are classes 0 … n-1. With ``table``, or one csv
    with a column ``file`` in the folder, the files are those it lists; names of classes in it are numbered as
    :func:`parse_labels` does with ``configs``.

    Raises:
        InvalidDataError: No such file, files beside sub-folders of files, or a csv that does not fit.
    """
    folder = Path(os.path.abspath(folder))
    table = table or _find_table(folder)
    if table is not None:
        return _list_csv_files(folder, table, suffixes, configs)
    files, ignored = [], 0
    for path, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        matching = [name for name in sorted(names) if name.lower().endswith(tuple(suffixes))]
        ignored += sum(not name.startswith(".") for name in names) - len(matching)
        files += [Path(path, name) for name in matching]
    if not files:
        raise InvalidDataError(f"{folder} holds no {' or '.join(suffixes)} file")
    file_listing = _build_unlabeled(folder, sorted(files, key=lambda file: file.relative_to(folder).parts))
    names = sorted(set(file_listing.subfolders.tolist()))
    if ignored:
        file_listing.warnings.append(f"{folder}: {ignored} files of other kinds ignored")
    if names == [""]:
        return file_listing
    if "" in names:
        raise InvalidDataError(
            f"{folder} holds files beside sub-folders of files, so it is unclear what the classes are",
            hint="put every file into a sub-folder of its class, or list them in a csv with the header file,label",
        )
    file_listing.labels = np.searchsorted(names, file_listing.subfolders).astype(np.int64)
    file_listing.by_subfolder = True
    numbers = [int(name) if name.isdecimal() else None for name in names]
    if None not in numbers and numbers != list(range(len(names))):
        file_listing.warnings.append(
            f"{folder}: the sub-folders are numbers, but classes are counted in order of name: "
            f"'{names[0]}' is class 0, '{names[-1]}' is class {len(names) - 1}"
        )
    return file_listing


def _build_unlabeled(folder: Path, files: list[Path]) -> FileListing:
    relative_parts = [file.relative_to(folder).parts for file in files]
    return FileListing(folder, files, None, np.array([parts[0] if len(parts) > 1 else "" for parts in relative_parts]))


def _find_table(folder: Path) -> Path | None:
    tables = [path for path in sorted(folder.glob("*.csv")) if "file" in read_header(path)]
    if len(tables) > 1:
        raise InvalidDataError(f"{folder} holds several csv tables of files: {', '.join(t.name for t in tables)}")
    return tables[0] if tables else None


def read_header(path: Path) -> list[str]:
    """The column names of a csv, empty when it is no text."""
    try:
        with open(check_regular_file(path), newline="", encoding="utf-8-sig") as text:
            return next(csv.reader(text), [])
    except (UnicodeDecodeError, csv.Error):
        return []


@contextmanager
def wrap_csv_errors(path: Path) -> Iterator[None]:
    """Turn what a broken csv raises into :class:`InvalidDataError` that names it."""
    try:
        yield
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataError(f"{path} is not a csv table in UTF-8: {error}") from error


def _list_csv_files(folder: Path, table: Path, suffixes: Sequence[str], configs: str | None) -> FileListing:
    columns = read_header(table)
    if "file" not in columns:
        raise InvalidDataError(f"{table} has the columns {', '.join(columns)}; expected the header file,label")
    files, labels = [], []
    with wrap_csv_errors(table), open(table, newline="", encoding="utf-8-sig") as text:
        for row in csv.DictReader(text):
            name = row["file"] or ""
            path = Path(os.path.normpath(folder / name))
            if not path.is_relative_to(folder):
                hint = "files are listed relative to their folder"
                raise InvalidDataError(f"{table}: '{name}' lies outside {folder}", hint=hint)
            if not path.name.lower().endswith(tuple(suffixes)):
                raise InvalidDataError(f"{table}: '{name}' is not one of {', '.join(suffixes)}")
            files.append(path)
            labels.append(row.get("label"))
    if not files:
        raise InvalidDataError(f"{table} lists no files")
    file_listing = _build_unlabeled(folder, files)
    if "label" in columns:
        file_listing.labels = parse_labels([label or "" for label in labels], str(table), file_listing.warnings, configs)
    return file_listing


def parse_labels(texts: list[str], where: str, warnings: list[str], configs: str | None = None) -> Array:
    """Labels as written: whole numbers, else numbers, else names, which the model's configuration in the folder ``configs``
    numbers, else their sorted order.

    Raises:
        InvalidDataError: A row without a label.
    """
    if "" in texts:
        raise InvalidDataError(f"{where}: row {texts.index('') + 2} has no label")
    for dtype in (np.int64, np.float64):
        try:
            return np.array([dtype(text) for text in texts])
        except ValueError:
            continue
    if (named := number_labels(texts, configs)) is not None:
        return named
    names = sorted(set(texts))
    warnings.append(
        f"{where}: labels are names; in order of name '{names[0]}' is class 0, '{names[-1]}' is class {len(names) - 1}"
    )
    return np.searchsorted(names, texts).astype(np.int64)


def resolve_labels_file(labels: object) -> Path | None:
    """The csv a user named as labels of a folder.

    Raises:
        UsageError: It is no csv, or not there.
    """
    if not isinstance(labels, (str, os.PathLike)):
        return None
    path = Path(labels)
    if path.suffix.lower() != ".csv":
        raise UsageError(f"--labels {labels}: a folder is labelled by a csv with the header file,label")
    return check_regular_file(path)


def build_reader_result(
    file_listing: FileListing, request: ReaderRequest, columns: dict[str, Column | Array]
) -> ReaderResult:
    """A folder's files as a reader's answer: with ``--group subfolder`` sub-folders are groups and not classes.

    Sub-folders that are called like the classes of the model's configuration have its numbers.
    """
    labels, groups = file_listing.labels, None
    if file_listing.by_subfolder:
        named = number_labels(file_listing.subfolders.tolist(), request.input_configs)
        labels = labels if named is None else named
    if request.group == "subfolder":
        groups = file_listing.subfolders
        labels = None if file_listing.by_subfolder else labels
    return ReaderResult(columns, str(request.source), labels, groups, file_listing.warnings)
