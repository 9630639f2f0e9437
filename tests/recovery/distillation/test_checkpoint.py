"""A training that was interrupted goes on and ends where it would have ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.node_graphs import build


class StopError(Exception):
    """What an interruption looks like to the training."""


def test_an_interrupted_training_goes_on_and_ends_where_it_would_have_ended(tmp_path: Path) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    options = RecoverOptions(steps=40, checkpoint=str(tmp_path / "state"))
    straight, _ = recover(student, teacher, nets.rows(), RecoverOptions(steps=40))

    def stop(stage: str, done: int, total: int) -> None:
        if done == 23:
            raise StopError

    with pytest.raises(StopError):
        recover(student, teacher, nets.rows(), options, progress=stop)
    seen: list[int] = []
    resumed, _ = recover(student, teacher, nets.rows(), options, progress=lambda s, done, t: seen.append(done))
    assert seen[0] > 1
    assert model_file.to_bytes(resumed) == model_file.to_bytes(straight)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "state"
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    recover(student, teacher, nets.rows(), RecoverOptions(steps=4, checkpoint=str(state)))
    with pytest.raises(UsageError, match="another training"):
        recover(student, teacher, nets.rows(), RecoverOptions(steps=5, checkpoint=str(state)))
    state.write_bytes(b"not a checkpoint")
    with pytest.raises(InvalidDataError, match="not a checkpoint"):
        recover(student, teacher, nets.rows(), RecoverOptions(steps=4, checkpoint=str(state)))


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"blockwise": 0.5},
        {"warmup": 0.5},
        {"label_weight": 0.7},
        {"weight_decay": 0.1},
        {"lr": 1e-2},
        {"held": 0.3},
    ],
    ids=str,
)
def test_a_checkpoint_is_refused_under_any_other_option_that_the_weights_depend_on(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    options = RecoverOptions(steps=4, checkpoint=str(tmp_path / "state"))
    recover(student, teacher, nets.rows(64), options)
    with pytest.raises(UsageError, match="another training"):
        recover(student, teacher, nets.rows(64), replace(options, **other))


def test_a_checkpoint_is_refused_under_other_augmentations(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1] * 4)
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((2, 3, 3, 3)).astype(np.float32)}
    teacher = build([node], {"x": ["n", 3, 8, 8]}, {"y": ["n", 2, 8, 8]}, weights)
    samples = open_samples({"x": rng.standard_normal((32, 3, 8, 8)).astype(np.float32)}, teacher)
    options = RecoverOptions(steps=2, checkpoint=str(tmp_path / "state"))
    recover(nets.damaged(teacher, 0.5), teacher, samples, options)
    with pytest.raises(UsageError, match="another training"):
        recover(nets.damaged(teacher, 0.5), teacher, samples, replace(options, augment=("noise",)))


def test_a_training_that_was_cut_at_a_step_is_not_trained_beyond_it_when_it_goes_on(tmp_path: Path) -> None:
    student, teacher = nets.damaged(nets.mlp(), 0.5), nets.mlp()
    options = RecoverOptions(steps=40, last=5, checkpoint=str(tmp_path / "state"))
    first, _ = recover(student, teacher, nets.rows(), options)
    again, report = recover(student, teacher, nets.rows(), options)
    assert model_file.to_bytes(again) == model_file.to_bytes(first)
    assert any("stopped at step 5 of 40" in warning for warning in report.warnings)
