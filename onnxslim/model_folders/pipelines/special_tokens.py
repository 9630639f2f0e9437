"""The tokens that a decoder's texts begin and end with, as configuration files say."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onnxslim.core.errors import InvalidModelError
from onnxslim.model_folders.folder_files import FolderFiles

#: Configuration files, in the order they are asked, and the objects in them that speak of a decoder.
_CONFIGS = {"generation_config.json": ("",), "config.json": ("", "decoder"), "genai_config.json": ("model",)}
_START_KEYS, _END_KEY = ("decoder_start_token_id", "bos_token_id"), "eos_token_id"
#: What follows the first: pairs of a place and a token; or one token, as that of a language.
_FORCED_KEY, _FORCED_FIRST_KEY = "forced_decoder_ids", "forced_bos_token_id"


@dataclass(frozen=True)
class SpecialTokens:
    """What texts begin and end with.

    Attributes:
        start: The tokens that every text begins with, one at least.
        ends: Tokens that end it.
        source: The configuration file and key that said the first; None where nothing did, and it is 0.
    """

    start: tuple[int, ...]
    ends: frozenset[int]
    source: str | None


def find_special_tokens(files: FolderFiles, near: str = "") -> SpecialTokens:
    """The tokens that configuration files name: those in the nearest folder from that of the file ``near`` up.

    Raises:
        InvalidModelError: One of them is broken, or names what is no token.
    """
    start, source = None, None
    configs = list(_iter_configs(files, _find_nearest(files, near)))
    for key in _START_KEYS:
        for place, config in configs:
            if start is None and config.get(key) is not None:
                given, source = config[key], f"{place}{key}"
                # one of each text of a batch, where there are several
                start = _read_token(given[0] if isinstance(given, list) and given else given, source)
    forced = next((c[_FORCED_KEY] for _, c in configs if isinstance(c.get(_FORCED_KEY), list)), None)
    if forced is None:
        forced = [[1, c[_FORCED_FIRST_KEY]] for _, c in configs if c.get(_FORCED_FIRST_KEY) is not None][:1]
    named = [(f"{place}{_END_KEY}", c[_END_KEY]) for place, c in configs if c.get(_END_KEY) is not None]
    where, ends = named[0] if named else ("", [])
    return SpecialTokens(
        (start or 0, *_list_forced(forced)),
        frozenset(_read_token(end, where) for end in (ends if isinstance(ends, list) else [ends])),
        source,
    )


def _find_nearest(files: FolderFiles, near: str) -> str:
    """The folder, from that of ``near`` up, that has one of the configuration files; else the whole."""
    folder = posixpath.dirname(near)
    while folder and not any(files.has(posixpath.join(folder, name)) for name in _CONFIGS):
        folder = posixpath.dirname(folder)
    return folder


def _iter_configs(files: FolderFiles, folder: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each object in files of ``folder`` that speaks of a decoder, with where it is, for errors."""
    for file_name, parts in _CONFIGS.items():
        name = posixpath.join(folder, file_name)
        content = files.read_json(name) if files.has(name) else {}
        for part in parts:
            found = content.get(part) if part else content
            if isinstance(found, Mapping):
                yield f"{files.find(name)}: {part}{'.' * bool(part)}", found


def _list_forced(pairs: list[Any]) -> list[int]:
    """The tokens at places 1, 2, … as far as they are fixed; a place that is free ends them."""
    by_place = {pair[0]: pair[1] for pair in pairs if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int)}
    tokens: list[int] = []
    while isinstance(token := by_place.get(len(tokens) + 1), int) and not isinstance(token, bool):
        tokens.append(token)
    return tokens


def _read_token(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidModelError(f"{where} is {value!r:.80}, expected the number of a token")
    return value
