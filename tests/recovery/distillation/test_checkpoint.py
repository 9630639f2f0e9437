"""A training that was interrupted goes on and ends where it would have ended."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch", reason="recover needs torch")

from onnxslim.core.errors import InvalidDataError, UsageError
from onnxslim.model_io import model_file
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets


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
