"""What the documentation points to is there: links, files, names, and the floors of the house."""

from __future__ import annotations

import importlib
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
EXTENDING = sorted((ROOT / "docs" / "how-to").glob("add-*.md"))
FOLDERS = ("onnxslim", "cli", "tests", "benchmarks", "docs", "sample_models")


def name(page: Path) -> str:
    """A page as tests call it."""
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if path.split("/")[0] in FOLDERS]
    assert [path for path in paths if not (ROOT / path).exists()] == []


@cache
def source_words() -> frozenset[str]:
    """Every word of the library, the command line and the tests."""
    files = [path for room in ("onnxslim", "cli", "tests") for path in (ROOT / room).rglob("*.py")]
    return frozenset(word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", EXTENDING, ids=name)
def test_names_in_the_guides_to_extending_are_in_the_source(page: Path) -> None:
    words = re.findall(r"`(\w+)(?:\([^`]*\))?`", page.read_text(encoding="utf-8"))
    assert words
    assert [word for word in words if word not in source_words()] == []


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [
        name(page)
        for page in PAGES
        if page.is_relative_to(ROOT / "docs") and f" {page.relative_to(ROOT / 'docs')}" not in navigation
    ] == []


def test_the_python_reference_names_what_can_be_imported() -> None:
    for path in re.findall(r"^::: ([\w.]+)$", (ROOT / "docs/reference/python.md").read_text(encoding="utf-8"), re.M):
        try:
            importlib.import_module(path)
        except ModuleNotFoundError:
            module, _, attribute = path.rpartition(".")
            assert hasattr(importlib.import_module(module), attribute), path


def test_the_floors_are_those_that_are_enforced_and_every_package_is_described() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    layers = re.search(r"^layers = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.S | re.M)
    assert layers is not None
    floors = [re.sub(r"onnxslim\.| ", "", floor).split("|") for floor in re.findall(r'"(.*)"', layers[1])]
    drawn = re.search(r"```\n(onnxslim_cli\n.*?)```", text, re.S)
    assert drawn is not None
    assert [line.replace(" ", "").split("|") for line in drawn[1].splitlines()] == floors
    packages = [path.parent.name for path in (ROOT / "onnxslim").rglob("__init__.py") if path.parent.name != "onnxslim"]
    assert [package for package in packages if f"`{package}/`" not in text] == []
