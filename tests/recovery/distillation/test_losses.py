"""Distances are zero at the teacher and grow away from it."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="recover needs torch")

import torch

from onnxslim.recovery.distillation import losses


def test_losses_are_zero_at_the_teacher_and_grow_away_from_it() -> None:
    teacher = torch.randn(6, 5)
    for target in (teacher, torch.softmax(teacher, 1)):
        near = losses.output_loss({"y": target}, {"y": target}, ["y"], ["y"])
        far = losses.output_loss({"y": target * 0.5 + 0.1}, {"y": target}, ["y"], ["y"])
        assert float(near) == pytest.approx(0, abs=1e-5)
        assert float(far) > 0.01


def test_divergence_is_that_of_the_probabilities_whether_scores_or_shares_are_given() -> None:
    a, b = torch.randn(6, 5), torch.randn(6, 5)
    p, q = torch.softmax(a, 1), torch.softmax(b, 1)
    expected = float((p * (p.log() - q.log())).sum(1).mean())
    assert float(losses.divergence(b, a)) == pytest.approx(expected, rel=1e-5)
    assert float(losses.divergence(q, p)) == pytest.approx(expected, rel=1e-4)
    softened = 16 * float(losses.divergence(b / 4, a / 4))
    assert float(losses.divergence(b, a, 4.0)) == pytest.approx(softened, rel=1e-4)
    assert float(losses.divergence(q, p, 4.0)) == pytest.approx(softened, rel=1e-4)


def test_independent_probabilities_are_not_taken_for_class_scores() -> None:
    assert not losses.is_class_scores(torch.rand(8, 4))
    assert losses.is_class_scores(torch.softmax(torch.randn(8, 4), 1))
    assert losses.is_class_scores(torch.randn(8, 4))
    assert not losses.is_class_scores(torch.randn(8, 4, 2))


def test_embeddings_of_unit_length_are_vectors_and_no_class_scores() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(8, 16))
    assert not losses.is_class_scores(vectors)
    assert losses.is_class_scores(3 * vectors)
    assert float(losses.distance({"y": -vectors}, {"y": vectors}, ["y"])) == pytest.approx(4.0, rel=1e-5)
