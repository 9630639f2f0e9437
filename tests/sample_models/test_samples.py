"""The sample models are what their README says they are."""

from __future__ import annotations

import importlib
import re

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.runtime.session import Session
from tests.support.paths import SAMPLES

MODELS = ["digits_cnn", "digits_wide", "digits_mlp"]
PARTS = {"train": 1097, "calib": 200, "eval": 500}


def data(part: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(SAMPLES / f"digits_{part}.npz", allow_pickle=False) as file:
        assert sorted(file.files) == ["image", "labels"]
        return file["image"], file["labels"]


def documented_top1(model: str) -> float:
    found = re.search(rf"`{model}\.onnx`.*\| ([0-9.]+) %", (SAMPLES / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    return float(found[1]) / 100


@pytest.mark.parametrize("model", MODELS)
def test_a_model_scores_what_the_readme_says_on_the_evaluation_part(model: str) -> None:
    images, labels = data("eval")
    outputs = Session(model_file.load(SAMPLES / f"{model}.onnx")).run({"image": images})
    scores = next(array for array in outputs.values() if array.ndim == 2)
    top1 = float((scores.argmax(1) == labels).mean())
    assert top1 == pytest.approx(documented_top1(model), abs=5e-4)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_one_image_input_with_a_free_batch_and_tells_nothing_of_where_it_was_made(model: str) -> None:
    graph = model_file.load(SAMPLES / f"{model}.onnx").graph
    (value,) = graph.inputs
    assert value.name == "image"
    assert value.shape is not None
    assert [str(d) for d in value.shape] == ["batch", "1", "8", "8"]
    assert b".py" not in (SAMPLES / f"{model}.onnx").read_bytes()


def test_the_parts_have_their_sizes_and_share_no_image() -> None:
    seen: dict[bytes, str] = {}
    for part, size in PARTS.items():
        images, labels = data(part)
        assert images.shape == (size, 1, 8, 8)
        assert images.dtype == np.float32
        assert labels.shape == (size,)
        assert labels.dtype == np.int64
        assert np.bincount(labels, minlength=10).min() > size // 20
        for image in images:
            assert seen.setdefault(image.tobytes(), part) == part


def test_the_wide_model_has_channels_that_are_exactly_dead() -> None:
    graph = model_file.load(SAMPLES / "digits_wide.onnx").graph
    scales = [node.inputs[1] for node in graph if node.op_type == "BatchNormalization"]
    dead = sum(int((scale.const_value.numpy() == 0).sum()) for scale in scales if scale and scale.const_value)
    assert dead > 16


def test_everything_stays_within_a_few_hundred_kilobytes() -> None:
    stored = [*SAMPLES.glob("*.onnx"), *SAMPLES.glob("*.npz")]
    assert sum(path.stat().st_size for path in stored) < 700_000


@pytest.mark.parametrize("name", ["dense_mlp", "deep_mlp"])
def test_a_perceptron_of_the_papers_scores_what_the_readme_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="its rows are made by scikit-learn")
    monkeypatch.syspath_prepend(str(SAMPLES))
    monkeypatch.syspath_prepend(str(SAMPLES / "papers"))
    if name == "deep_mlp":
        pytest.importorskip("torch", reason="its script imports torch")
    made = importlib.import_module(name)
    rows, labels = made.rows()["eval"]
    model = model_file.load(SAMPLES / "papers" / f"{name}.onnx")
    outputs = Session(model).run({made.INPUT: rows})
    scores = next(array for array in outputs.values() if array.ndim == 2)
    assert float((scores.argmax(1) == labels).mean()) == pytest.approx(documented_top1(name), abs=2e-3)


def test_the_deep_perceptron_has_a_hundred_layers_and_ten_thousand_parameters() -> None:
    graph = model_file.load(SAMPLES / "papers" / "deep_mlp.onnx").graph
    assert sum(node.op_type in ("MatMul", "Gemm") for node in graph) == 100
    weights = [v.const_value for v in graph.initializers.values()]
    assert sum(w.size for w in weights if w is not None and w.size >= 100) == 10_000
