"""A browser that hangs or fails at one file is begun again at the next."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.paths import ROOT

#: What the page posts of each file; None hangs.
SCRIPT = [{"outputs": ["a"]}, None, {"error": "no half floats"}, {"outputs": ["b"]}, {"outputs": ["c"]}]
TASKS = [
    {"name": "one", "files": {"float": "", "int8": "", "float16": ""}},
    {"name": "two", "files": {"float": "", "int8": ""}},
]


@pytest.fixture
def consumers(monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "web"))
    import consumers

    monkeypatch.setattr(consumers.shutil, "which", lambda name: name)
    monkeypatch.setattr(consumers, "OPENING_SECONDS", 0.2)
    return consumers


def post(url: str, message: object) -> None:
    parts = urlsplit(url)
    urllib.request.urlopen(f"{parts.scheme}://{parts.netloc}/answers", json.dumps(message).encode()).close()


def test_what_hangs_is_left_and_the_rest_answers(consumers: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": TASKS}))
    opened = []

    @contextmanager
    def open_page(chromium: str, url: str, provider: str) -> Iterator[None]:
        (first,) = parse_qs(urlsplit(url).query)["first"]
        opened.append(int(first))
        post(url, {"is_open": True})
        for answer in SCRIPT[int(first) :]:
            if answer is None:
                break
            post(url, {"answer": answer})
            if "error" in answer:
                break
        yield

    monkeypatch.setattr(consumers, "_open_page", open_page)
    found = consumers.run_browser(tmp_path, tmp_path, "webgpu", 0.2)  # type: ignore[attr-defined]
    assert opened == [0, 2, 3]
    hung = {"error": "not finished in 0.2 s"}
    assert found == {
        "one": {"float": SCRIPT[0], "int8": hung, "float16": SCRIPT[2]},
        "two": {"float": SCRIPT[3], "int8": SCRIPT[4]},
    }


@pytest.mark.parametrize("told", ["no WebGPU adapter starts here", None])
def test_a_page_that_never_opens_is_an_error(
    told: str | None, consumers: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps({"tasks": TASKS}))

    @contextmanager
    def open_page(chromium: str, url: str, provider: str) -> Iterator[None]:
        if told:
            post(url, {"error": told})
        yield

    monkeypatch.setattr(consumers, "_open_page", open_page)
    with pytest.raises(RuntimeError, match=told or "the page did not open"):
        consumers.run_browser(tmp_path, tmp_path, "webgpu", 0.2)  # type: ignore[attr-defined]
