"""The three forms of the report: complete, harmless whatever a model is called, and the same every time."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from onnxslim.reporting.html import render_html
from tests.support.report_forms import FORMS, HOSTILE, hostile
from tests.support.sample_report import sample


@functools.cache
def plain_page() -> str:
    """The page of the same report with a harmless name."""
    return render_html(hostile("plain"))


class Elements(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


@pytest.mark.parametrize("form", FORMS)
def test_each_form_shows_every_figure(form: str) -> None:
    said = FORMS[form](sample())
    for figure in ("4.10× smaller", "2.23× faster", "78.17 %", "−0.33 points", "−1.67 to +0.99", "22.8 dB", "28.9 MB"):
        assert figure in said
    assert "600 samples of eval.npz" in re.sub(r"\s+", " ", said)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_the_same_every_time(form: str) -> None:
    assert FORMS[form](sample()) == FORMS[form](sample())


@pytest.mark.parametrize("form", FORMS)
def test_each_form_leaves_the_report_alone(form: str) -> None:
    report = sample()
    FORMS[form](report)
    assert report == sample()


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=10, deadline=None)
@given(st.sets(st.sampled_from(sorted(sample()))), st.booleans())
def test_any_parts_may_be_missing(form: str, parts: set[str], null: bool) -> None:
    report = {key: None if null and key in parts else value for key, value in sample().items()}
    FORMS[form](report if null else {key: value for key, value in report.items() if key not in parts})


def test_a_failed_gate_is_said_in_every_form() -> None:
    report = sample() | {"exit_code": 5, "status": "failed", "output": None}
    report["error"] = {"kind": "gate", "message": "top1 drops by 3 %", "hint": "allow more"}
    for form in FORMS.values():
        assert "top1 drops by 3 %" in form(report)
    assert '<span class="badge bad">a gate failed</span>' in render_html(report)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text_in_the_page(name: str) -> None:
    page = render_html(hostile(name))
    safe, attacked = Elements(plain_page()), Elements(page)
    assert attacked.tags == safe.tags
    assert [key for key, _ in attacked.attributes] == [key for key, _ in safe.attributes]
    assert not any(key.startswith("on") for key, _ in attacked.attributes)
    assert "49" not in re.findall(r"<h1>(.*?)</h1>", page)[0]
    assert not set(page) & set("\x1b\x07\u202e")


def test_the_page_refers_to_nothing_outside_itself() -> None:
    page = Elements(render_html(sample()))
    assert "script" not in page.tags
    for name, value in page.attributes:
        if name in {"href", "src", "xlink:href", "action", "data", "poster", "srcset"}:
            assert value.startswith(("#", "data:,")), (name, value)
    assert re.findall(r"url\((?!#|data:)", render_html(sample())) == []
    assert "@import" not in render_html(sample())


def test_ids_are_unique_and_references_resolve() -> None:
    attributes = Elements(render_html(sample())).attributes
    ids = [value for name, value in attributes if name == "id"]
    assert len(set(ids)) == len(ids)
    assert {value[1:] for name, value in attributes if name.endswith("href") and value.startswith("#")} <= set(ids)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., tuple[Image.Image, list[str]]]:
    """``look(page, dark)`` → what a browser shows and what its console says."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no chromium here to look at the page with")

    def opened(page: str, dark: bool = False) -> tuple[Image.Image, list[str]]:
        file, picture = tmp_path / "report.html", tmp_path / "page.png"
        file.write_text(page, encoding="utf-8")
        quiet = ("gpu", "quic", "background-networking", "component-update", "sync")
        run = subprocess.run(
            [browser, "--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in quiet),
             f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--hide-scrollbars",
             f"--blink-settings=preferredColorScheme={int(not dark)}", "--window-size=1200,4200",
             f"--screenshot={picture}", file.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        said = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
        return Image.open(picture).convert("RGB"), said

    return opened


@pytest.mark.parametrize("dark", [False, True])
def test_a_browser_shows_the_page_without_a_word_on_its_console(look: Any, dark: bool) -> None:
    picture, said = look(render_html(sample()), dark)
    assert said == []
    assert (sum(picture.getpixel((5, 5))) < 150) == dark
    assert len(picture.getcolors(1 << 24)) > 200  # a page, not a blank


def test_a_request_would_be_stopped_by_the_page_itself_and_said_on_the_console(look: Any) -> None:
    _, said = look(render_html(sample()).replace("</main>", '<img src="http://127.0.0.1:9/x.png"></main>'))
    assert any("Content Security Policy" in line for line in said)
