"""Shares, sizes, times and counts as people write them, on the command line and in recipes alike.

The types below are for annotations: ``remove: Share | None`` is a float, and says how its text is read
(:mod:`onnxslim.core.converter`).
"""

from __future__ import annotations

import contextlib
import functools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

_NUMBER_PATTERN = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(?:e([+-]?\d+))?", re.IGNORECASE)
#: YAML 1.1 takes a number for text when it has an exponent and no point.
_EXPONENT_PATTERN = re.compile(r"[+-]?\d+e[+-]?\d+", re.IGNORECASE)
_BYTES_PER_UNIT = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_SECONDS_PER_UNIT = {"": 1.0, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


class QuantityError(ValueError):
    """A value that is not of its kind: what was expected, and how that is written."""

    def __init__(self, expected: str, hint: str | None = None) -> None:
        super().__init__(expected)
        self.expected, self.hint = expected, hint


@dataclass(frozen=True)
class Notation:
    """How a field is written; ``parse`` turns what was written into its value, or raises :class:`QuantityError`."""

    parse: Callable[[Any], Any]


def parse_share(value: object, *, all_allowed: bool = False) -> float:
    """``1%`` or ``0.01`` → 0.01. A bare number of 1 or more could mean either, so it is refused.

    Args:
        value: Text or a number; a number comes back as it is.
        all_allowed: A bare 1 is all of it, where all of it may be meant.
    """
    number, unit = _split_unit(value)
    if number is None or unit not in ("", "%"):
        raise QuantityError("expected a share", "1% or 0.01")
    if unit == "%" and number > 100:
        raise QuantityError("expected at most 100%")
    if unit == "" and number >= 1 and not (all_allowed and number == 1):
        raise QuantityError("is it per cent or a share?", f"{value}%, or a number below 1")
    return number / 100 if unit else _keep_number(value, number)


class Units(float):
    """A drop in the metric's own unit, where a bare number below 1 counts points of top-1."""


def parse_drop(value: object) -> float:
    """A share, or ``2.5 units`` → 2.5 of the metric's own unit (:class:`Units`)."""
    if isinstance(value, Units):
        return value
    number, unit = _split_unit(value)
    if number is not None and unit in ("unit", "units"):
        return Units(number)
    try:
        return parse_share(value)
    except QuantityError as error:
        raise QuantityError(error.expected, f"{error.hint or '1% or 0.01'}; in the metric's own unit 2.5 units") from None


def format_drop(drop: float) -> float | str:
    """``drop`` as :func:`parse_drop` takes it; what is no number comes back as it is, for that to refuse."""
    return f"{float(drop)!r} units" if isinstance(drop, (int, float)) and is_in_units(drop) else drop


def is_in_units(drop: float) -> bool:
    """Whether ``drop`` is one in the metric's own unit: a share of 1 or more is none."""
    return isinstance(drop, Units) or drop >= 1


def parse_size(value: object) -> int:
    """``4MB`` → 4 000 000 bytes; kB, MB and GB are powers of 1000, a bare number is bytes."""
    number, unit = _split_unit(value)
    if number is None or unit not in _BYTES_PER_UNIT:
        raise QuantityError("expected a size", "500kB, 4MB or 1.5GB")
    return value if isinstance(value, int) else round(number * _BYTES_PER_UNIT[unit])


def parse_duration(value: object) -> float:
    """``10m`` → 600.0 seconds; ms, s, m and h, a bare number is seconds and comes back as it is."""
    number, unit = _split_unit(value)
    if number is None or unit not in _SECONDS_PER_UNIT:
        raise QuantityError("expected a time", "5ms, 30s, 10m or 1h")
    return number * _SECONDS_PER_UNIT[unit] if unit else _keep_number(value, number)


def parse_number(value: object, *, is_text: bool = False) -> float:
    """A finite number; a whole one stays one.

    Args:
        value: A number, or text of one that YAML takes for text.
        is_text: Whether there is nothing but text, as on a command line, so that any text of a number is one.
    """
    number = value
    if isinstance(value, str) and (is_text or _EXPONENT_PATTERN.fullmatch(value)):
        with contextlib.suppress(ValueError):
            number = float(value)
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not _is_finite(number):
        raise QuantityError("expected a number", "for example 0.5")
    return number


def parse_whole_number(value: object, *, low: int | None = None) -> int:
    """A whole number, not below ``low``; True and False are none."""
    if isinstance(value, bool) or not isinstance(value, int) or (low is not None and value < low):
        raise QuantityError(
            "expected a whole number" if low is None else f"expected a whole number of at least {low}", "for example 8"
        )
    return value


#: A share of something; ``WholeShare`` may be all of it.
Share = Annotated[float, Notation(parse_share)]
WholeShare = Annotated[float, Notation(functools.partial(parse_share, all_allowed=True))]
#: How much a metric may fall: a share counts points of top-1, ``units`` are the metric's own.
Drop = Annotated[float, Notation(parse_drop)]
Bytes = Annotated[int, Notation(parse_size)]
Seconds = Annotated[float, Notation(parse_duration)]
Count = Annotated[int, Notation(functools.partial(parse_whole_number, low=1))]
Seed = Annotated[int, Notation(functools.partial(parse_whole_number, low=0))]


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole one that no float holds
        return False


def _split_unit(value: object) -> tuple[float | None, str]:
    """A number and the unit after it; None when it starts with no number, or with one too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None, ""
    text = str(value).strip()
    match = _NUMBER_PATTERN.match(text)
    if match is None or math.isinf(number := float(match[0])):
        return None, text
    return number, text[match.end() :].strip().lower()


def _keep_number(value: object, number: float) -> float:
    # a whole number stays one: recipes are written as they were read
    return value if isinstance(value, (int, float)) else number
