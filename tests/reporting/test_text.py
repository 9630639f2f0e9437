"""Numbers and names as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.reporting import text


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (text.format_size(999), "999 B"),
        (text.format_size(13992206), "14.0 MB"),
        (text.format_size(None), "–"),
        (text.format_count(3487816), "3.49 M"),
        (text.format_milliseconds(0.0532), "53.2 µs"),
        (text.format_milliseconds(7.9512), "7.95 ms"),
        (text.format_digits(0.000123), "0.000123"),
        (text.format_digits(float("inf")), "–"),
        (text.format_digits(7.1112e25), "7.11e+25"),
        (text.format_digits(1234567890.0), "1234567890"),
        (text.format_signed(-0.004), "0.00"),
        (text.format_ratio(2.0, "faster", "slower"), "2.00× faster"),
        (text.format_ratio(1.001, "faster", "slower"), "unchanged"),
        (text.shorten("a" * 50 + "b" * 50, 11), "aaaaa…bbbbb"),
    ],
)
def test_numbers_as_people_read_them(made: str, expected: str) -> None:
    assert made == expected


@given(st.text())
def test_a_cleaned_name_cannot_steer_a_terminal_or_break_a_line(name: str) -> None:
    cleaned = text.clean(name)
    assert cleaned.isprintable()
    assert cleaned == name or not name.isprintable()


@given(st.text(max_size=200), st.integers(3, 60))
def test_a_shortened_name_is_no_longer_than_allowed(name: str, limit: int) -> None:
    assert len(text.shorten(name, limit)) <= limit
