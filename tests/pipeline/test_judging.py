"""How a task judges on few samples and on many."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.model_io import model_file
from onnxslim.pipeline.task import prepare_task
from tests.support.paths import SAMPLES


@pytest.mark.parametrize(("telling", "metric"), [(500, "top1"), (501, "confidence")])
def test_many_labels_are_counted_and_few_may_only_make_it_worse(
    telling: int, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxslim.pipeline.judging.ENOUGH_LABELS", telling)
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    task = prepare_task(model, "optimize", eval_data=str(SAMPLES / "digits_eval.npz"))
    assert task.splits.confirm is not None
    assert len(task.splits.confirm) == 500
    (found,) = task.estimate_metrics(model, task.splits.confirm)
    assert (found.name, found.drop) == (metric, 0.0)


def test_labels_gate_as_far_as_there_are_enough_of_them() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    task = prepare_task(
        model, "optimize", data=str(SAMPLES / "digits_calib.npz"), eval_data=str(SAMPLES / "digits_eval.npz"), tune=0.2
    )
    confirm, tune = task.splits.confirm, task.splits.tune
    assert confirm is not None
    assert tune is not None
    gating = {name: task.evaluate({"r": model}, one)["r"].gating for name, one in (("tune", tune), ("confirm", confirm))}
    assert {metric.name for metric in gating["tune"]} == {"confidence"}, "40 labels are told, those of confirm judge"
    assert {metric.name for metric in gating["confirm"]} == {"confidence", "top1"}
    assert task.judge.kinds is not None
    assert [kind.name for kind in task.judge.kinds] == ["class scores"]


def test_without_labels_agreement_guards_the_expected_drop_on_every_set_alike() -> None:
    model = model_file.load(SAMPLES / "digits_cnn.onnx")
    data = {name: np.load(SAMPLES / f"digits_{name}.npz")["image"] for name in ("calib", "eval")}
    task = prepare_task(model, "optimize", data={"image": data["calib"]}, eval_data={"image": data["eval"]}, tune=0.2)
    assert task.splits.tune is not None
    assert task.splits.confirm is not None
    for samples in (task.splits.tune, task.splits.confirm):
        assert {metric.name for metric in task.evaluate({"r": model}, samples)["r"].gating} == {"confidence", "agreement"}
    assert [metric.name for metric in task.estimate_metrics(model, task.splits.tune)] == ["confidence", "agreement"]
