"""The three forms of the report: complete, harmless whatever a model is called, and the same every time."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from rich.console import Console

from onnxslim.reporting import plots
from onnxslim.reporting.html import render_html
from onnxslim.reporting.markdown import render_markdown
from onnxslim.reporting.terminal import render_terminal
from tests.support.sample_report import sample

#: What the author of a hostile model might call a tensor.
HOSTILE = (
    "</title></script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "{{ 7 * 7 }}{% raw %}",
    "[bold red]rich[/]",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202egnp.exe",
    "$\\frac{broken",
    "a|b`c`*d*_e_\n# heading",
    'x" onload="alert(3)',
    "#010101 url(https://evil.example/x)",
)


def printed(report: dict[str, Any], *, explain: bool = False, width: int = 120) -> str:
    console = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(render_terminal(report, explain=explain))
    return console.export_text()


FORMS: dict[str, Callable[[dict[str, Any]], str]] = {
    "terminal": lambda report: printed(report, explain=True),
    "markdown": render_markdown,
    "html": render_html,
}


def hostile(name: str) -> dict[str, Any]:
    """The sample with ``name`` wherever a model or its file could put one."""
    report = sample()
    report["input"]["path"] = report["output"]["path"] = name
    report["outputs"] = {name: report["outputs"]["output"]}
    report["stages"][1]["name"] = name
    report["steps"][1] |= {"name": name, "changed": {name: 3}, "declined": [{"node": name, "reason": name}]}
    report["layers"][5] |= {"name": name, "op": name, "why": name}
    report["metrics"][0]["name"] = name
    report["metadata"] = {name: name}
    report["data"] = {"fit": name, "confirm": {name: name}}
    report["error"] = {"kind": "gate", "message": name, "hint": name}
    report["oldest_runtime"] = report["recipe"] = name
    report["warnings"] = [name]
    return report


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


def test_the_terminal_shows_what_was_declined_only_when_asked() -> None:
    assert "declined:" not in printed(sample())
    assert "quantize declined: measured faster in float32" in printed(sample(), explain=True)


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


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_cannot_steer_the_terminal(name: str) -> None:
    said = printed(hostile(name), explain=True, width=400)
    assert "\x1b" not in said
    assert "\u202e" not in said
    if name.startswith("[bold"):
        assert "[bold red]rich[/]" in said


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_in_its_cell_in_markdown(name: str) -> None:
    said, safe = render_markdown(hostile(name)), render_markdown(hostile("plain"))
    assert len(said.splitlines()) == len(safe.splitlines())
    assert [line.count("|") for line in said.splitlines()] == [line.count("|") for line in safe.splitlines()]
    assert "<script" not in said
    assert "<img" not in said


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


def test_plots_take_the_pages_colours_whatever_the_users_matplotlib_says() -> None:
    import matplotlib as mpl

    plain = plots.plot_layers(sample()["layers"])
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "pink", "svg.fonttype": "path", "axes.grid": True}):
        assert plots.plot_layers(sample()["layers"]) == plain
    assert not re.findall(r"#[0-9a-f]{6}\b", plain)
    assert "var(--plot-float)" in plain
    assert "<title>/features/features.5/conv/Conv_output_0 (Conv): " in plain


def test_plots_of_very_little_are_drawn() -> None:
    assert "<svg" in plots.plot_latency([1.0], [1.0])
    assert "<svg" in plots.plot_stages([{"name": "original", "bytes": 0}, {"name": "x", "bytes": 0}], "Top-1", "%")
    assert "<svg" in plots.plot_layers([{"name": "a", "op": "Conv", "sqnr_db": -3.0, "kernel": None, "why": None}])


def test_the_library_does_not_import_matplotlib_until_a_page_is_made() -> None:
    code = "import sys, onnxslim, onnxslim.reporting.html; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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


@pytest.mark.parametrize("name", ["int8", "prune 49% with low rank + int8 + int4 linear"])
def test_the_names_of_trials_end_inside_the_plot(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn, figures = plots.open_figure, []

    @contextmanager
    def watched(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with drawn(*args, **kwargs) as found:
            yield found
            figures.append(FigureCanvasAgg(found[0]).figure)

    monkeypatch.setattr(plots, "open_figure", watched)
    entry = {"name": name, "bytes": 1000, "median_ms": 1.0, "pareto": True, "passes": True}
    plots.plot_trials([entry, {**entry, "name": "lossless", "bytes": 4000}], name)
    assert figures[0].get_tightbbox().x1 <= figures[0].get_figwidth()


def test_labels_keep_their_distance_and_their_order() -> None:
    placed = plots._space_labels([0.5, 0.5, 0.2, 0.98, 0.97], 0.1)
    assert sorted(range(5), key=placed.__getitem__) == [2, 0, 1, 4, 3]
    assert np.diff(sorted(placed)).min() >= 0.1 - 1e-9
    assert max(placed) <= 1


@pytest.mark.parametrize("form", FORMS)
def test_what_is_to_be_known_of_a_trial_stands_behind_what_became_of_it(form: str) -> None:
    report = sample()
    report["candidates"][3] |= {"passes": False, "missed": ["slower than the original"], "note": "9 layers went back"}
    told = re.sub(r"\s+", " ", re.sub(r"<[^>]+>|│", " ", FORMS[form](report)))
    assert "slower than the original (9 layers went back)" in told
