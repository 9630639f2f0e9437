"""Numbers and names as people read them; and names from a model made harmless to show."""

from __future__ import annotations

import math
import re
from typing import Any

#: What stands for a value that is not there.
NO_VALUE = "–"

_BYTE_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_COUNT_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def format_size(byte_count: float | None) -> str:
    """Bytes in decimal units, as file managers count them."""
    return _scale_units(byte_count, _BYTE_UNITS, " B")


def format_count(number: float | None) -> str:
    """A large count, e.g. ``3.49 M``."""
    return _scale_units(number, _COUNT_UNITS, "")


def _scale_units(number: float | None, units: tuple[tuple[float, str], ...], plain: str) -> str:
    if number is None:
        return NO_VALUE
    for scale, unit in units:
        if abs(number) >= scale:
            return f"{format_digits(number / scale)} {unit}"
    return f"{number:.0f}{plain}"


def format_digits(number: float, significant: int = 3) -> str:
    """``number`` with so many significant digits, and never an exponent for what is read at a glance: below 10¹⁰."""
    if not math.isfinite(number):
        return NO_VALUE
    if number == 0:
        return "0"
    if abs(number) >= 1e10:
        return f"{number:.{significant - 1}e}"
    places = max(0, significant - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{min(places, 6)}f}"


def format_milliseconds(value: float | None) -> str:
    """A time in ms, or in µs below a tenth of one."""
    if value is None:
        return NO_VALUE
    return f"{format_digits(value)} ms" if value >= 0.1 else f"{format_digits(1000 * value)} µs"


def format_signed(number: float, places: int = 2) -> str:
    """With a true minus sign and an explicit plus; zero has neither."""
    formatted = f"{abs(number):.{places}f}"
    if float(formatted) == 0:
        return formatted
    return ("−" if number < 0 else "+") + formatted


def format_ratio(ratio: float, more: str, less: str) -> str:
    """``2.11× faster`` or ``1.30× slower``: a ratio above or below 1 in words."""
    if ratio <= 0 or not math.isfinite(ratio):
        return NO_VALUE
    if f"{ratio:.2f}" == "1.00":
        return "unchanged"
    return f"{format_digits(ratio)}× {more}" if ratio > 1 else f"{format_digits(1 / ratio)}× {less}"


def clean(value: Any) -> str:
    """``value`` as text that shows what it holds: characters that steer a terminal or reorder a line are spelled out.

    A tensor's name may hold anything: an escape sequence, a right-to-left override, a line feed.
    """
    return "".join(char if char.isprintable() else f"\\u{{{ord(char):x}}}" for char in str(value))


def shorten(text: str, limit: int = 60) -> str:
    """``text`` cut in its middle, where the names of layers differ least."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[head + 1 - limit :]}"


def escape_markdown(text: str) -> str:
    """``text`` that GitHub's Markdown shows as it is, in a table cell too."""
    escaped = re.sub(r"[\\`*\[\]<>&|~#!$@:]", lambda match: f"&#{ord(match[0])};", text)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", "&#95;", escaped)
