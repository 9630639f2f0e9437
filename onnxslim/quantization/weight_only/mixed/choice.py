"""A format for each weight, as recipes hold it: names by format, the most common one for all that are not named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from onnxslim.core.errors import UsageError
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.recorded_decisions import check_names
from onnxslim.quantization.weight_only.mixed.formats import EXPANDED_FORMATS, MixedWeight

_KEY = "weight_formats"


def write_choice(chosen: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """``chosen``, a format by weight, as weights by format: of the most common one none, which is all others."""
    (common, _), *_ = Counter(chosen.values()).most_common(1)
    names = {text: tuple(name for name, found in chosen.items() if found == text) for text in sorted(set(chosen.values()))}
    return {text: () if text == common else found for text, found in names.items()}


def read_choice(written: Mapping[str, Sequence[str]], weights: Sequence[MixedWeight]) -> dict[str, str]:
    """The inverse of :func:`write_choice`.

    Raises:
        UsageError: A format that is not there, or does not go with its weight.
        InvalidDataError: A weight that is not there.
    """
    known = {weight.name for weight in weights}
    chosen: dict[str, str] = {}
    for text, names in written.items():
        check_names(f"{_KEY}: {text}", names, known, "weight with a choice")
        chosen |= dict.fromkeys(names, text)
    others = [text for text, names in written.items() if not names]
    for weight in weights:
        if weight.name not in chosen and len(others) != 1:
            expected = "expected one format without names, which all others have"
            raise UsageError(f"{_KEY}: {expected}, got {len(others)}", hint=f"for example {{{weight.formats[0]}: []}}")
        text = chosen.setdefault(weight.name, others[0] if others else "")
        if text not in weight.formats:
            raise UsageError(f"{_KEY}: {text} does not fit {weight.name}", hint=f"one of {', '.join(weight.formats)}")
    return {weight.name: chosen[weight.name] for weight in weights}


def find_expanded(written: Mapping[str, Sequence[str]]) -> Callable[[str], bool]:
    """Which weights a choice has expanded when the model is loaded, by their names: what else reads them may be read in
    blocks by another runtime than the one that the choice was made on.
    """
    formats = {name: text for text, names in written.items() for name in names}
    common = next((text for text, names in written.items() if not names), "")
    return lambda name: formats.get(name, common) in EXPANDED_FORMATS


def parse_formats(written: Mapping[str, Sequence[str]]) -> list[BlockFormat]:
    """The formats of blocks among those of a choice.

    Raises:
        UsageError: A format that there is not.
    """
    formats = []
    for text in written:
        if (block_format := BlockFormat.parse(text)) is not None:
            formats.append(block_format)
        elif text not in EXPANDED_FORMATS:
            raise UsageError(
                f"{_KEY}: {text}: unknown", hint=f"uint4:64, int8:128 and the like, {', '.join(EXPANDED_FORMATS)}"
            )
    return formats
