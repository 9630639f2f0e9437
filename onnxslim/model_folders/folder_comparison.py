"""Two folders side by side: which model stands for which, and what became of every other file."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.layouts.layout import FolderModel
from onnxslim.model_folders.model_folder import ModelFolder

#: So many paths are named where many differ.
_MAX_NAMED = 5


@dataclass(frozen=True)
class MemberPair:
    """A model and what it is held against.

    Attributes:
        candidate: The model.
        original: Of the other folder: what has its role there, or what it is another precision of; None where nothing does.
        is_same: Both are the same, byte for byte, data files included.
    """

    candidate: FolderModel
    original: FolderModel | None
    is_same: bool


@dataclass(frozen=True)
class FolderComparison:
    """What is told of a folder beside its original.

    Attributes:
        pairs: Every model of the candidate.
        missing: Models of the original whose role none has.
        changed: Other files with another content.
        gone: Other files of the original that are not there.
        new: Other files that the original has not.
    """

    pairs: tuple[MemberPair, ...]
    missing: tuple[FolderModel, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]


def compare_folders(
    candidate: ModelFolder, original: ModelFolder, known: Mapping[str, str] | None = None
) -> FolderComparison:
    """``candidate`` beside ``original``: models by their roles, data files with their models, all other files byte for byte.

    Args:
        candidate: The folder that is judged.
        original: The one that it was made of.
        known: Paths of models of the original by those of the candidate, where a receipt names them.

    Raises:
        InvalidModelError: ``known`` names a model that is not there.
    """
    digests, before = candidate.files.digest(), original.files.digest()
    by_path = {member.path: member for member in original.members}
    by_role = {member.role: member for member in original.members}
    roles = {member.path: member.role for member in candidate.members}
    pairs, own, others = [], set[str](), set[str]()
    for member in candidate.members:
        named = None if known is None else known.get(member.path)
        if named is not None and named not in by_path:
            raise InvalidModelError(f"{original.files.root}: no model {named:.80}, which {member.path} is held against")
        base = by_role.get(roles.get(member.variant_of or "", ""))
        found = by_path[named] if named is not None else by_role.get(member.role, base)
        mine = _list_files(candidate, member)
        theirs = set[str]() if found is None else _list_files(original, found)
        is_same = found is not None and found.path == member.path and mine == theirs
        is_same = is_same and all(digests.get(path) == before.get(path) for path in mine)
        pairs.append(MemberPair(member, found, is_same))
        own |= mine
    for member in original.members:
        others |= _list_files(original, member)
    rest = {path: digest for path, digest in digests.items() if path not in own}
    rest_before = {path: digest for path, digest in before.items() if path not in others}
    return FolderComparison(
        tuple(pairs),
        tuple(member for member in original.members if member.role not in roles.values()),
        tuple(path for path, digest in rest.items() if rest_before.get(path, digest) != digest),
        tuple(path for path in rest_before if path not in digests),
        tuple(path for path in rest if path not in before),
    )


def find_served_sets(comparison: FolderComparison, paths: Sequence[str]) -> list[dict[str, FolderModel]]:
    """What stands for models that serve together.

    Args:
        comparison: Of a candidate and its original.
        paths: Models of the original.

    Returns:
        Of the candidate a model for each of ``paths``, by these: one set for each precision that its files are called by. A
        set that is as it was, or not whole, is left out.
    """
    by_ending: dict[str, dict[str, MemberPair]] = {}
    for pair in comparison.pairs:
        if pair.original is not None and pair.original.path in paths:
            stem, base = (posixpath.splitext(one.path)[0] for one in (pair.candidate, pair.original))
            ending = stem[len(base) :] if stem.startswith(base) else ""
            by_ending.setdefault(ending, {})[pair.original.path] = pair
    plain = by_ending.get("", {})
    sets = [{**plain, **found} for found in by_ending.values() if not all(pair.is_same for pair in found.values())]
    return [{path: one[path].candidate for path in paths} for one in sets if one.keys() == set(paths)]


def name_some(paths: tuple[str, ...]) -> str:
    """``paths`` for people, the first few by name."""
    more = len(paths) - _MAX_NAMED
    return ", ".join(paths[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _list_files(folder: ModelFolder, member: FolderModel) -> set[str]:
    """The paths of a model and of its data files."""
    return {member.path, *folder.list_data_files(member)}
