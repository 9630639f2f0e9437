"""Distances from a student's tensors to its teacher's. Every term is dimensionless, so that terms can be added."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

#: Class scores are taught at this temperature. Of samples that a teacher was trained on it is all but certain: what it
#: knows of the other classes, which is what it has to teach, hardly shows in its probabilities.
TEMPERATURE = 4.0
#: Scores of fewer classes may have length one by chance.
_MIN_UNIT_SIZE = 8


def relative_error(student: Tensor, teacher: Tensor) -> Tensor:
    """Σ (a - b)² / Σ a², the inverse of SQNR; a the teacher's."""
    # one pass over large features where the formula written out would take four, and keep what each leaves behind
    noise = functional.mse_loss(student, teacher, reduction="sum")
    return noise / torch.linalg.vector_norm(teacher).square().clamp_min(1e-12)


def is_class_scores(teacher: Tensor) -> bool:
    """Whether an output is one score a class: (n, classes), and neither independent probabilities nor unit vectors."""
    if teacher.dim() != 2 or teacher.shape[1] < 2:
        return False
    if ((teacher >= 0) & (teacher <= 1)).all():
        return is_distribution(teacher)
    return not is_unit_vectors(teacher)


def is_unit_vectors(teacher: Tensor) -> bool:
    """Whether every row of an output has length one, as embeddings do: its largest number says nothing by itself."""
    lengths = torch.linalg.vector_norm(teacher, dim=1)
    return teacher.shape[1] >= _MIN_UNIT_SIZE and torch.allclose(lengths, torch.ones_like(lengths), atol=1e-2)


def is_distribution(teacher: Tensor) -> bool:
    """Whether every row of an output holds probabilities of classes."""
    sums = teacher.sum(1)
    return bool((teacher >= 0).all()) and bool(torch.allclose(sums, torch.ones_like(sums), atol=1e-2))


def log_probabilities(output: Tensor, distribution: bool, temperature: float = 1.0) -> Tensor:
    """Logarithms of class probabilities at ``temperature``, of scores or of probabilities at 1."""
    scores = output.clamp_min(1e-9).log() if distribution else output
    return functional.log_softmax(scores / temperature, 1)


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher ‖ student) in nats, the mean over samples, times the squared temperature (Hinton et al. 2015).

    The square keeps gradients as large as they are at 1.
    """
    distribution = is_distribution(teacher)
    student_logs, teacher_logs = (log_probabilities(output, distribution, temperature) for output in (student, teacher))
    return temperature**2 * functional.kl_div(student_logs, teacher_logs, reduction="batchmean", log_target=True)


def divergence_by_sample(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) in nats of every sample, (n,)."""
    distribution = is_distribution(teacher)
    student_logs, teacher_logs = (log_probabilities(output, distribution) for output in (student, teacher))
    return functional.kl_div(student_logs, teacher_logs, reduction="none", log_target=True).sum(1).clamp_min(0)


def cross_entropy(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """-log of the probability of the label; the teacher only shows whether its outputs are probabilities."""
    return functional.nll_loss(log_probabilities(student, is_distribution(teacher)), labels)


def distance(
    student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], names: Sequence[str], class_outputs: Collection[str] = ()
) -> Tensor:
    """What a student is judged by: the divergence of class scores, and the relative error of every other output."""
    measures = {name: divergence if name in class_outputs else relative_error for name in names}
    return torch.stack([measure(student[name], teacher[name]) for name, measure in measures.items()]).sum()


def output_loss(
    student: Mapping[str, Tensor],
    teacher: Mapping[str, Tensor],
    names: Sequence[str],
    class_outputs: Collection[str] = (),
    *,
    labels: Tensor | None = None,
    label_weight: float = 0.0,
) -> Tensor:
    """What is taught: relative error of every float output, for class scores their divergence, and the cross-entropy to
    ``labels``, int64 (n,) or None, which belong to the first output that holds class scores.
    """
    total = torch.zeros(())
    for name in names:
        total = total + relative_error(student[name], teacher[name])
        if name in class_outputs:
            total = total + divergence(student[name], teacher[name], TEMPERATURE)
            if labels is not None and label_weight > 0:
                total = total + label_weight * cross_entropy(student[name], teacher[name], labels)
                labels = None
    return total
