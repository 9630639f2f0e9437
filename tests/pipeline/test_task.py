"""How a task judges on few samples and on many."""

from __future__ import annotations

import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.task import prepare_task
from tests.support.paths import SAMPLES


@pytest.mark.parametrize(("telling", "metric"), [(500, "top1"), (501, "confidence")])
def test_many_labels_are_counted_and_few_may_only_make_it_worse(
    telling: int, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.pipeline.task.ENOUGH_LABELS", telling)
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    task = prepare_task(model, "optimize", eval_data=str(SAMPLES / "digits_eval.npz"))
    assert task.splits.confirm is not None
    assert len(task.splits.confirm) == 500
    found = task.estimate_metric(model, task.splits.confirm)
    assert (found.name, found.drop) == (metric, 0.0)
