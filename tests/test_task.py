"""How a task judges on few samples and on many."""

from __future__ import annotations

from pathlib import Path

import pytest

from onnxslim import io
from onnxslim.task import prepare

SAMPLES = Path(__file__).resolve().parent.parent / "sample_models"


@pytest.mark.parametrize(("telling", "metric"), [(500, "top1"), (501, "confidence")])
def test_many_labels_are_counted_and_few_may_only_make_it_worse(
    telling: int, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.task.TELLING", telling)
    model = io.load(SAMPLES / "digits_cnn.onnx")
    task = prepare(model, "optimize", eval_data=str(SAMPLES / "digits_eval.npz"))
    assert task.sets.confirm is not None
    assert len(task.sets.confirm) == 500
    found = task.expected(model, task.sets.confirm)
    assert (found.name, found.drop) == (metric, 0.0)
