"""Which files of a folder are one set, where there are several: their paths are the same but for what tells the parts apart.

``small/encoder_model.onnx`` belongs to ``small/decoder_model_merged.onnx``, ``t5_encoder.onnx`` to ``t5_decoder.onnx``, and
``encoder/1/model.onnx`` to ``decoder/1/model.onnx``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

_WORD = re.compile(r"[^\W_]+")
#: Where a word begins that only its capital letter parts from the one before.
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: Words that say which part a file is.
_PART_WORDS = frozenset(("encoder", "decoder", "model", "merged", "with", "past", "init"))

Part = TypeVar("Part")


def find_set_name(path: str) -> tuple[str, ...]:
    """The words of ``path`` that say which set it belongs to."""
    words = _WORD.findall(_CAPITAL.sub(" ", posixpath.splitext(path)[0]).lower())
    return tuple(word for word in words if word not in _PART_WORDS)


def divide_into_sets(
    parts: Sequence[Part], get_path: Callable[[Part], str], is_set: Callable[[Sequence[Part]], bool]
) -> list[list[Part]]:
    """``parts`` by the set that they belong to; all together where no two of the sets are whole.

    What is called like none of the sets belongs to the one whose name is most of its own.

    Args:
        parts: Files.
        get_path: The path of one.
        is_set: Whether such parts are all that it takes.
    """
    by_name: dict[tuple[str, ...], list[Part]] = {}
    for part in parts:
        by_name.setdefault(find_set_name(get_path(part)), []).append(part)
    whole = [name for name, group in by_name.items() if is_set(group)]
    if len(whole) == 1 and not is_set(parts):  # nobody could tell with the others among them
        return [by_name[whole[0]]]
    if len(whole) < 2:
        return [list(parts)]
    for name, group in by_name.items():
        owners = sorted((one for one in whole if set(one) < set(name)), key=len, reverse=True)
        if name not in whole and owners and (len(owners) == 1 or len(owners[0]) > len(owners[1])):
            by_name[owners[0]] += group
    return [by_name[name] for name in whole]
