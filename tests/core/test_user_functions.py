"""A user's function by its name: spelled right, allowed, found."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from onnxslim.core.errors import UsageError
from onnxslim.core.user_functions import is_function_reference, load_function


@pytest.mark.parametrize("text", ["module:function", "package.module:name", "_a.b2:c_d"])
def test_what_is_spelled_like_a_function(text: str) -> None:
    assert is_function_reference(text)


@pytest.mark.parametrize(
    "text", ["", "module", "module:", ":function", "a..b:c", "a.:c", "C:/data", "a:b:c", "1a:b", "data.npz", 3]
)
def test_what_is_not(text: object) -> None:
    assert not is_function_reference(text)


def test_code_runs_only_when_that_was_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "some_metric", raising=False)
    Path("some_metric.py").write_text("open('ran', 'w').close()\ndef score(): return 7\nnumber = 3\n")
    with pytest.raises(UsageError, match="--metric some_metric:score would import and run code"):
        load_function("--metric", "some_metric:score", allowed=False)
    assert not Path("ran").exists()
    path = list(sys.path)
    assert load_function("--metric", "some_metric:score", allowed=True)() == 7
    assert sys.path == path
    with pytest.raises(UsageError, match="some_metric:number: not a function"):
        load_function("--metric", "some_metric:number", allowed=True)
    with pytest.raises(UsageError, match="--metric some_metric:missing"):
        load_function("--metric", "some_metric:missing", allowed=True)
