"""Shares, sizes, times and pairs: what people write and what it means."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxslim.core.errors import UsageError
from onnxslim_cli.command_registry import COMMANDS
from onnxslim_cli.options.parameter_types import DIM, DURATION, MODEL, MULTIPLE, NUMBER, PAIR, POSITIVE, REPORT, SHARE, SIZE

OPTION = click.Option(["-x", "--some-option"])


@given(st.integers(0, 10000))
def test_per_cent_and_share_mean_the_same(hundredths: int) -> None:
    share = SHARE.convert(f"{hundredths / 100}%", OPTION, None)
    assert share == pytest.approx(hundredths / 10000)
    if hundredths < 10000:
        assert SHARE.convert(str(hundredths / 10000), OPTION, None) == pytest.approx(share)


@pytest.mark.parametrize("text", ["1", "5", "1.0", "100", "-1%", "-0.1", "101%", "x", "", "%", "nan", "inf", "1%%", "1 pp"])
def test_a_share_that_could_mean_two_things_or_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--some-option"):
        SHARE.convert(text, OPTION, None)


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("B", 1), ("kB", 10**3), ("MB", 10**6), ("GB", 10**9)]))
def test_sizes_are_decimal(number: int, unit: tuple[str, int]) -> None:
    name, scale = unit
    for text in (f"{number}{name}", f"{number} {name}", f"{number}{name.lower()}"):
        assert SIZE.convert(text, OPTION, None) == number * scale


def test_a_size_may_have_decimals() -> None:
    assert SIZE.convert("1.5GB", OPTION, None) == 1_500_000_000
    assert SIZE.convert(".5kB", OPTION, None) == 500


@pytest.mark.parametrize("text", ["4MiB", "4 apples", "MB", "-4MB", ""])
def test_other_sizes_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        SIZE.convert(text, OPTION, None)
    assert "4MB" in str(caught.value.hint)


@given(st.integers(0, 10**4), st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600)]))
def test_times_are_seconds(number: int, unit: tuple[str, int]) -> None:
    assert DURATION.convert(f"{number}{unit[0]}", OPTION, None) == number * unit[1]


@pytest.mark.parametrize("text", ["10 days", "m", "-1s", "1h30"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected a time"):
        DURATION.convert(text, OPTION, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", "x", "", "1%"])
def test_a_number_is_finite(text: str) -> None:
    for kind in (NUMBER, POSITIVE):
        with pytest.raises(UsageError, match=f"--some-option {text}: expected a number"):
            kind.convert(text, OPTION, None)


def test_a_number_may_be_written_in_any_way_and_be_below_zero_where_that_means_something() -> None:
    assert NUMBER.convert("-1e-3", OPTION, None) == NUMBER.convert(-0.001, OPTION, None) == -0.001
    assert POSITIVE.convert(".5", OPTION, None) == 0.5
    for text in ("0", "-1"):
        with pytest.raises(UsageError, match="above 0"):
            POSITIVE.convert(text, OPTION, None)


def test_every_number_that_an_option_takes_is_read_by_it() -> None:
    """Those of click read ``nan`` and ``inf``, which no comparison refuses."""
    for command in COMMANDS.values():
        for parameter in command.params:
            assert not isinstance(parameter.type, click.types.FloatParamType), parameter.name


def test_the_first_equals_sign_parts_a_pair() -> None:
    assert PAIR.convert("a.b=c=d", OPTION, None) == ("a.b", "c=d")
    assert PAIR.convert("a=", OPTION, None) == ("a", "")
    assert DIM.convert("batch=8", OPTION, None) == ("batch", 8)


@pytest.mark.parametrize("text", ["batch", "=1", "batch=", "batch=0", "batch=-1", "batch=x", "batch=1.5"])
def test_a_dimension_is_a_whole_number_of_at_least_one(text: str) -> None:
    with pytest.raises(UsageError, match="--some-option"):
        DIM.convert(text, OPTION, None)


def test_a_multiple_is_a_number_or_auto() -> None:
    assert MULTIPLE.convert("auto", OPTION, None) == "auto"
    assert MULTIPLE.convert("8", OPTION, None) == 8
    with pytest.raises(UsageError, match="expected auto or a number"):
        MULTIPLE.convert("0", OPTION, None)


def test_a_report_is_html_or_markdown() -> None:
    assert REPORT.convert("a/b.HTML", OPTION, None) == "a/b.HTML"
    with pytest.raises(UsageError, match="unknown kind of report"):
        REPORT.convert("model.onnx", OPTION, None)


def test_a_model_is_a_file_that_is_there(tmp_path: object) -> None:
    with pytest.raises(UsageError, match="a folder"):
        MODEL.convert(str(tmp_path), OPTION, None)
    with pytest.raises(UsageError, match="no such file"):
        MODEL.convert(f"{tmp_path}/x.onnx", OPTION, None)
