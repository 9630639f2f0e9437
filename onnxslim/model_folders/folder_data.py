"""Which data are for which model of a folder."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from onnxslim.core.errors import InvalidDataError, OnnxslimError
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.pipeline.data_options import OpenedData

_DATA_SUFFIXES = (".npz", ".npy", ".csv", ".parquet", ".arrow", ".feather", ".txt", ".jsonl", "")


@dataclass(frozen=True)
class MemberData:
    """What one model is fitted on and judged by: what the user named, or what the models before it make of that; ``why``
    says why there is nothing, where there is not.
    """

    data: Any
    eval_data: Any = None
    why: str | None = None

    @property
    def source(self) -> Any:
        """What tells how the data are read."""
        return self.eval_data if self.data is None else self.data


def assign_data(
    members: Sequence[FolderModel],
    data: str | None,
    eval_data: str | None,
    try_open: Callable[[FolderModel, str], str | OpenedData],
    fed_by_others: Collection[FolderModel] = (),
) -> dict[str, MemberData]:
    """The data for each of ``members``, by its path.

    A folder with files called like models (``encoder_model.npz``) has data of its own for each of those. Otherwise all
    models are given the same, and those that it does not fit are told so.

    Args:
        members: What is to be compressed.
        data: What the user named.
        eval_data: Likewise, to judge by.
        try_open: Opens data for a model, once for all; asked only where there are several.
        fed_by_others: Models that read what others make, and so are given what is called like them alone.

    Raises:
        InvalidDataError: It fits none of them.
    """
    if data is None and eval_data is None:
        return {member.path: MemberData(None) for member in members}
    found: dict[str, MemberData] = {}
    errors: list[OnnxslimError] = []
    for member in members:
        own, own_eval = (
            _find_called_like(source, member) if member in fed_by_others else _find_own(source, member, members)
            for source in (data, eval_data)
        )
        if own is None and own_eval is None and member in fed_by_others:
            found[member.path] = MemberData(None, None, "nothing makes what it reads")
            continue
        if own is None and own_eval is None:
            found[member.path] = MemberData(None, None, f"no data called {posixpath.splitext(member.path)[0]} were given")
            continue
        found[member.path] = MemberData(own, own_eval)
        if len(members) == 1:
            continue
        try:
            opened, opened_eval = (None if source is None else try_open(member, source) for source in (own, own_eval))
            found[member.path] = MemberData(opened, opened_eval)
        except InvalidDataError as error:
            errors.append(error)
            found[member.path] = MemberData(None, None, f"the data are not for it: {error.message}")
    if all(one.data is None and one.eval_data is None for one in found.values()) and errors:
        raise errors[0]
    return found


def _find_own(source: str | None, member: FolderModel, members: Sequence[FolderModel]) -> str | None:
    """What of ``source`` is for ``member``: a file or folder of its name, where any of ``members`` has one; else all."""
    if source is None or not os.path.isdir(source):
        return source
    named = {one.path: _find_named(source, one) for one in members}
    return named[member.path] if any(named.values()) else source


def _find_called_like(source: str | None, member: FolderModel) -> str | None:
    return _find_named(source, member) if source is not None and os.path.isdir(source) else None


def _find_named(folder: str, member: FolderModel) -> str | None:
    stem = posixpath.splitext(member.path)[0]
    names = (
        os.path.join(folder, *base.split("/")) + ending
        for base in (stem, posixpath.basename(stem))
        for ending in _DATA_SUFFIXES
    )
    return next((name for name in names if os.path.exists(name)), None)
