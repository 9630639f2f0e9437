"""Shares, sizes and times: numbers come back as they are, text by its unit; nothing else is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.quantities import (
    QuantityError,
    format_drop,
    is_in_units,
    parse_drop,
    parse_duration,
    parse_number,
    parse_share,
    parse_size,
    parse_whole_number,
)

PARSERS = [parse_share, parse_drop, parse_size, parse_duration, parse_number, parse_whole_number]


@pytest.mark.parametrize("parse", PARSERS)
@pytest.mark.parametrize("value", [None, True, False, [1], {}, "", "abc", float("nan"), float("inf"), "1e999", "1 apple"])
def test_what_is_no_quantity_is_none_of_any_kind(parse: Callable[[Any], float], value: object) -> None:
    with pytest.raises(QuantityError, match="expected"):
        parse(value)


@pytest.mark.parametrize("parse", [parse_share, parse_drop, parse_size, parse_duration, parse_number])
def test_a_whole_number_that_no_float_holds_is_none(parse: Callable[[Any], float]) -> None:
    with pytest.raises(QuantityError, match="expected"):
        parse(10**400)


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_means_the_same_as_a_number_and_as_text(share: float) -> None:
    assert parse_share(share) == parse_share(repr(share)) == share


@given(st.floats(0, 1e9) | st.integers(0, 10**9))
def test_a_drop_is_read_as_it_was_written(drop: float) -> None:
    assert parse_drop(format_drop(drop)) == drop


@pytest.mark.parametrize("text", ["0.5 units", "2.5 units", "1 unit"])
def test_units_stay_units_whatever_their_number(text: str) -> None:
    drop = parse_drop(text)
    assert is_in_units(drop)
    assert not is_in_units(parse_drop("50%"))
    for again in (parse_drop(drop), parse_drop(format_drop(drop))):
        assert is_in_units(again)
        assert again == drop


@pytest.mark.parametrize("one", [1, 1.0, "1"])
def test_a_bare_one_is_all_of_it_only_where_all_of_it_may_be_meant(one: Any) -> None:
    assert parse_share("100%") == 1
    assert parse_share(one, all_allowed=True) == 1
    for more in (one, 2, "1.5"):
        with pytest.raises(QuantityError, match="per cent or a share") as caught:
            parse_share(more)
        assert f"{more}%" in str(caught.value.hint)


@pytest.mark.parametrize(("parse", "number"), [(parse_share, 0), (parse_duration, 600), (parse_drop, 0)])
def test_a_whole_number_stays_one(parse: Callable[[Any], float], number: int) -> None:
    assert isinstance(parse(number), int)


@pytest.mark.parametrize(("low", "value"), [(0, -1), (1, 0), (None, 1.5), (None, "1")])
def test_a_whole_number_is_whole_and_not_below_what_it_may_be(low: int | None, value: object) -> None:
    with pytest.raises(QuantityError, match="expected a whole number"):
        parse_whole_number(value, low=low)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5ms", 0.005), ("0.5 ms", 0.0005), ("30s", 30.0), ("10m", 600.0), ("1h", 3600.0)]
)
def test_times_have_units_from_milliseconds_to_hours(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)
