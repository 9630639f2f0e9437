"""What the documentation repeats of the code is what the code says now."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Literal

import pytest
from jsonschema import Draft202012Validator

from onnxslim.core.converter import JSON
from tests.support.paths import ROOT


def load_generator() -> ModuleType:
    specification = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


generate = load_generator()


def test_the_schema_and_every_list_are_up_to_date() -> None:
    stale = [path.name for path, text in generate.render_all().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run python docs/generate.py: {stale}"


def test_every_list_is_on_a_page() -> None:
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    assert not [name for name in generate.TABLES if f"<!-- table: {name} -->" not in pages]


@dataclass
class Inner:
    value: float = float("nan")
    name: str | None = None


@dataclass
class Outer:
    mode: Literal["a", "b"] = "a"
    items: list[Inner] = field(default_factory=lambda: [Inner()])
    counts: dict[str, int] = field(default_factory=lambda: {"x": 1})
    renamed: bool = field(default=True, metadata={"key": "other"})
    inner: Inner | None = None


def test_what_the_converter_writes_fits_the_schema_of_its_type() -> None:
    schema = generate.describe_type(Outer)
    validator = Draft202012Validator(schema)
    written = JSON.unstructure(Outer(inner=Inner(1.0, "x")))
    validator.validate(written)
    assert set(schema["properties"]) == set(written)
    assert not validator.is_valid(written | {"mode": "c"})
    assert not validator.is_valid(written | {"other": 3})
    assert not validator.is_valid(written | {"items": [{"value": "x", "name": None}]})


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [(int, 1.5), (str, 1), (bool, "yes"), (float, "1"), (list[int], ["1"]), (Mapping[str, int], {"a": "b"})],
)
def test_a_value_of_another_type_does_not_fit(kind: type, wrong: object) -> None:
    assert not Draft202012Validator(generate.describe_type(kind)).is_valid(wrong)


def test_a_list_takes_the_place_between_its_markers_and_nothing_else() -> None:
    page = "before\n<!-- table: errors -->\nstale\n<!-- end -->\nbehind\n"
    rendered = generate.render_page(page)
    assert rendered.startswith("before\n<!-- table: errors -->\n| code | kind |")
    assert rendered.endswith("<!-- end -->\nbehind\n")
    assert "stale" not in rendered
    assert generate.render_page(rendered) == rendered
