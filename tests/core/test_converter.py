"""Records from plain values and back; what does not fit is named by its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from onnxslim.core.converter import JSON, Converter
from onnxslim.core.errors import UsageError
from onnxslim.core.quantities import Share


@dataclass(frozen=True)
class Inner:
    """With a field that is called otherwise where it is written."""

    names: tuple[str, ...] = field(default=(), metadata={"key": "called"})
    share: Share | None = None

    def __post_init__(self) -> None:
        if "nobody" in self.names:
            raise UsageError("nobody is called", hint="somebody")


@dataclass(frozen=True)
class Outer:
    """One of everything."""

    kind: Literal["a", "b"] = "a"
    ratio: float = 1.0
    value: int | str = 0
    inner: Sequence[Inner] = ()
    more: dict[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


FULL = {"kind": "b", "ratio": 2, "value": "x", "inner": [{"called": ["n"], "share": 0.5}, {}], "more": {"k": [1]}}


def test_a_record_goes_there_and_back() -> None:
    record = JSON.read(FULL, Outer, "there")
    assert record == Outer("b", 2, "x", (Inner(("n",), 0.5), Inner()), {"k": [1]})
    assert isinstance(record.ratio, int)
    back = JSON.unstructure(record)
    assert list(back["inner"][0]) == ["called", "share"]
    assert JSON.read(back, Outer, "there") == record


def test_only_what_was_chosen_is_written_where_that_is_asked_for() -> None:
    written = Converter(omit_if_default=True).unstructure(Outer(inner=(Inner(share=0.1), Inner())))
    assert list(written) == ["inner"]
    assert list(written["inner"]) == [{"share": 0.1}, {}]


@pytest.mark.parametrize(
    ("value", "says", "hint"),
    [
        ({"kind": "c"}, 'there: kind: expected one of a, b, got "c"', "one of a, b"),
        ({"more": 3}, "there: more: expected values by name, got 3", "{a: b}"),
        ({"numbers": {"x": "one"}}, 'there: numbers.x: expected a whole number, got "one"', "for example 8"),
        ({"ratio": "x"}, 'there: ratio: expected a number, got "x"', "for example 0.5"),
        ({"ratio": True}, "there: ratio: expected a number, got true", "for example 0.5"),
        ({"value": [1]}, "there: value: expected a whole number or text, got [1]", "for example 8"),
        ({"inner": {}}, "there: inner: expected a list, got {}", "for example [a, b]"),
        ({"inner": [{}, {"share": "x"}]}, 'there: inner[1].share: expected a share, got "x"', "1% or 0.01"),
        ({"inner": [{"called": [1]}]}, "there: inner[0].called[0]: expected text, got 1", "in quotes"),
        ({"inner": [{"names": []}]}, "there: inner[0]: no option names", "one of called, share"),
        ({"inner": [{"called": "nobody"}]}, "there: inner[0]: nobody is called", "somebody"),
        ([], "there: expected options by name, got []", "for example kind"),
        ({"ratio": "x" * 1000}, f'there: ratio: expected a number, got "{"x" * 59}…', "0.5"),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(value: Any, says: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        JSON.read(value, Outer, "there")
    assert caught.value.message == says
    assert hint in str(caught.value.hint)


def test_a_number_with_an_exponent_and_no_point_is_text_to_yaml_and_a_number_here() -> None:
    assert JSON.read({"ratio": "1e-3"}, Outer, "there").ratio == 0.001
