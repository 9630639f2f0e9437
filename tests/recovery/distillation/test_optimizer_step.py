"""The rate over the steps of a training."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.recovery.distillation import optimizer_step
from onnxslim.recovery.distillation.optimizer_step import compute_rate_factor
from onnxslim.recovery.options import RecoverOptions
from onnxslim.recovery.step import recover
from tests.support import torch_graphs as nets
from tests.support.onnx_text import build, floats


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    rates = [compute_rate_factor(step, 100, 10) for step in range(100)]
    assert np.argmax(rates) in (9, 10)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] < 1e-3
    assert (np.diff(rates[10:]) < 0).all()


def test_the_number_of_cores_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher, student = nets.mlp(), nets.damaged(nets.mlp(), 0.5)
    found = []
    for cores in (1, 3):
        monkeypatch.setattr(optimizer_step, "count_workers", lambda config, cores=cores: cores)
        result, report = recover(student, teacher, nets.rows(), RecoverOptions(steps=20, lr=2e-2))
        found.append((model_file.to_bytes(result), report.details["curve"]))
    assert found[0] == found[1]
    assert found[0][0] != model_file.to_bytes(student)


def test_an_update_learns_from_all_its_samples_in_equal_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    real = optimizer_step.batch_loss

    def noted(plan: object, lesson: optimizer_step.DistillationBatch, blockwise: bool) -> torch.Tensor:
        seen.append(len(next(iter(lesson.feeds.values()))))
        return real(plan, lesson, blockwise)

    monkeypatch.setattr(optimizer_step, "batch_loss", noted)
    recover(nets.damaged(nets.mlp(), 0.5), nets.mlp(), nets.rows(), RecoverOptions(steps=1, batch_size=30))
    assert sorted(seen[-4:]) == [7, 7, 8, 8]


def test_a_gradient_is_laid_out_like_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    # the gradient of such a weight comes transposed, and Adam's fused step does not look at strides
    body = 'y = Einsum <equation="nhij,hoj->nhio"> (x, w)'
    teacher = build(f"(float[n,3,4,6] x) => (float[n,3,4,5] y) {{ {body} }}", w=floats(3, 5, 6))
    rows = np.random.default_rng(0).standard_normal((64, 3, 4, 6)).astype(np.float32)
    found, real = [], torch.optim.AdamW
    for is_fused in (True, False):
        monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused, is_fused=is_fused: real(groups, fused=is_fused))
        samples = open_samples({"x": rows}, teacher)
        result, _ = recover(nets.damaged(teacher, 0.3), teacher, samples, RecoverOptions(steps=5, lr=1e-2))
        found.append(nets.arrays(result)["w"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4, atol=1e-6)
    assert not np.array_equal(found[0], nets.arrays(nets.damaged(teacher, 0.3))["w"])
