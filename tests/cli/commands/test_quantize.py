"""``onnxslim quantize --statistics``: halves add up, strangers are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxslim.quantization.calibration import cache


@pytest.fixture
def parts(calib: str, tmp_path: Path) -> dict[str, Path]:
    """80 samples, and each half of them, as three files."""
    with np.load(calib) as file:
        arrays: dict[str, Any] = {name: file[name][:80] for name in file.files}
    paths = {name: tmp_path / f"{name}.npz" for name in ("first", "second", "whole")}
    for name, some in (("first", slice(40)), ("second", slice(40, None)), ("whole", slice(None))):
        np.savez(paths[name], **{key: array[some] for key, array in arrays.items()})
    return paths


@pytest.fixture
def quantize(run: Callable[..., Any], cnn: str, evals: str, tmp_path: Path) -> Callable[..., Any]:
    """One cheap ``quantize`` of a part, with the files of statistics that are named."""

    def call(data: Path, *files: str, model: str = cnn) -> Any:
        told = [word for name in files for word in ("--statistics", tmp_path / name)]
        rest = ("--eval-data", evals, "--max-samples", "80", "--placement", "static", "--force", "--json")
        return run("quantize", model, "-o", tmp_path / f"{data.stem}.onnx", "--data", data, *told, *rest)

    return call


def changed(outcome: Any) -> dict[str, Any]:
    return next(step["changed"] for step in outcome.json["steps"] if step["name"] == "quantize")


def test_statistics_of_two_halves_merged_are_those_of_the_whole(
    quantize: Callable[..., Any], parts: dict[str, Path], tmp_path: Path
) -> None:
    assert quantize(parts["first"], "a.npz").code == 0
    second = quantize(parts["second"], "b.npz", "a.npz")
    assert second.code == 0
    assert changed(second)["samples whose statistics were known"] == 40
    assert quantize(parts["whole"], "c.npz").code == 0
    whole, model = cache.load(str(tmp_path / "c.npz")), (tmp_path / "whole.onnx").read_bytes()
    merged = cache.load(str(tmp_path / "a.npz")).merge(cache.load(str(tmp_path / "b.npz")))
    assert (merged.sample_hashes, merged.model_hash) == (whole.sample_hashes, whole.model_hash)
    for field in ("lows", "highs", "exponents", "counts"):
        np.testing.assert_array_equal(getattr(merged.statistics, field), getattr(whole.statistics, field))
    # and the model made of both files is the model made of the whole
    again = quantize(parts["whole"], "a.npz", "b.npz")
    assert changed(again)["samples whose statistics were known"] == 80
    assert (tmp_path / "whole.onnx").read_bytes() == model


def test_other_data_and_another_model_are_refused(
    quantize: Callable[..., Any], parts: dict[str, Path], samples: Path
) -> None:
    assert quantize(parts["first"], "a.npz").code == 0
    other = quantize(parts["second"], "a.npz")
    assert (other.code, other.json["error"]["kind"]) == (3, "invalid_data")
    assert "of other data; 40 of its 40 samples are none of these" in other.json["error"]["message"]
    wide = quantize(parts["first"], "a.npz", model=str(samples / "digits_wide.onnx"))
    assert wide.code == 3
    assert "of another model" in wide.json["error"]["message"]
    missing = quantize(parts["first"], "a.npz", "nowhere.npz")
    assert (missing.code, missing.json["error"]["hint"]) == (2, "only the first is written; others are added")


def test_weights_that_would_make_the_file_larger_leave_the_original(
    run: Callable[..., Any], cnn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.quantization.step.measure_bytes", lambda model: 1000)
    out = tmp_path / "o.onnx"
    outcome = run("quantize", cnn, "-o", out, "--weights", "int8")
    assert outcome.code == 0
    assert out.read_bytes() == Path(cnn).read_bytes()
    assert outcome.out.startswith("nothing gained: OUT is the original; the file would have 1000 bytes for 1000")
