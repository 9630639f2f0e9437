"""The teacher, and the judge: both through the runtime that will serve the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.activations.working_set import estimate_peak_bytes, limit_batch_size
from onnxslim.core.errors import InvalidModelError
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.recovery.distillation.losses import is_class_scores
from onnxslim.recovery.distillation.sample_cache import NamedArrays, SampleCache
from onnxslim.recovery.torch_model.partition import Partition
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.validation.output_fidelity import OutputFidelity

#: Samples in one run of the judge, where they are small inside, and bytes of the teacher's outputs that are kept.
_BATCH_SIZE, _MAX_KEPT_BYTES = 64, 64_000_000


class TappedModel:
    """Tensors of a model, by name, as the runtime computes them."""

    def __init__(self, model: ir.Model, names: Sequence[str], config: SessionConfig) -> None:
        self.names = list(names)
        self._session = Session(tap_outputs(model, self.names, only=True), config) if self.names else None

    def __call__(self, feeds: NamedArrays) -> NamedArrays:
        """The tensors for one batch."""
        if self._session is None:
            return {}
        return self._session.run({name: feeds[name] for name in self._session.inputs}, self.names)


def open_front(parts: Partition, inputs: Sequence[str], model: ir.Model, config: SessionConfig) -> TappedModel | None:
    """What computes those ``inputs`` of the trained part that are not the model's own; None without such a front."""
    if parts.front is None:
        return None
    model_inputs = {value.name for value in shapes.get_required_inputs(model)}
    return TappedModel(parts.front, [name for name in inputs if name not in model_inputs], config)


@dataclass(frozen=True)
class StudentScore:
    """How near a model is to its teacher, on samples it did not learn from.

    Attributes:
        error: Σ (a - b)² / Σ a² over the float outputs, their mean; 0 is equal.
        matches_teacher: Whether each sample's largest class score is the teacher's, bool (n,); None without class scores.
        matches_label: Whether it is the label; None without labels.
        divergence: KL(teacher ‖ student) of the class scores, nats, the mean over samples; None without them.
    """

    error: float
    matches_teacher: np.ndarray | None = None
    matches_label: np.ndarray | None = None
    divergence: float | None = None

    def is_better_than(self, other: StudentScore) -> bool:
        """Whether this is an improvement on the same samples.

        The samples that are right, or agreed on, decide if they differ by more than chance would have it (McNemar: gained
        and lost ones differ by more than the root of their sum). If not, the divergence of the class scores does: repair
        leaves the least squared error that there is, and answers come back while that rises. Without class scores it is the
        error.
        """
        if not np.isfinite(self.error):
            return False
        mine, theirs = ((s.matches_teacher if s.matches_label is None else s.matches_label) for s in (self, other))
        if mine is not None and theirs is not None:
            gained, lost = int((mine & ~theirs).sum()), int((theirs & ~mine).sum())
            if abs(gained - lost) > np.sqrt(gained + lost):
                return gained > lost
        if self.divergence is not None and other.divergence is not None:
            return self.divergence < other.divergence
        return self.error < other.error

    def as_json(self) -> dict[str, float | None]:
        """For the report."""
        matches = {"agreement": self.matches_teacher, "top1": self.matches_label}
        match_shares = {k: None if v is None else float(v.mean()) for k, v in matches.items()}
        return {"error": self.error, "divergence": self.divergence, **match_shares}


class StudentEvaluator:
    """Models scored against the teacher's outputs on held-back samples, which are kept where they are few bytes."""

    def __init__(self, teacher: ir.Model, held_out: SampleCache, config: SessionConfig) -> None:
        self._held_out, self._config = held_out, config
        self._session = Session(teacher, config)
        first_feeds = next(held_out.iterate_all(1))[0]
        outputs = self._session.run(first_feeds)
        rows = held_out.count_rows(first_feeds)
        peak_bytes = estimate_peak_bytes(teacher, first_feeds)
        self._batch_size = limit_batch_size(peak_bytes / rows, _BATCH_SIZE)
        output_bytes = sum(np.asarray(value).nbytes for value in outputs.values()) / rows
        self._kept_outputs: list[NamedArrays] | None = None
        if output_bytes * len(held_out) <= _MAX_KEPT_BYTES:
            self._kept_outputs = list(self._run_teacher())
        self._float_outputs = [name for name in self._session.outputs if np.asarray(outputs[name]).dtype.kind == "f"]
        first_outputs = {name: torch.from_numpy(outputs[name]) for name in self._float_outputs}
        self._class_output = next((name for name, tensor in first_outputs.items() if is_class_scores(tensor)), None)

    def _run_teacher(self) -> Iterator[NamedArrays]:
        return (self._session.run(feeds) for feeds, _ in self._held_out.iterate_all(self._batch_size))

    def score(self, model: ir.Model) -> StudentScore:
        """Run ``model`` on the held-back samples."""
        session = Session(model, self._config)
        fidelities = {name: OutputFidelity() for name in self._float_outputs}
        teacher_matches: list[np.ndarray] = []
        label_matches: list[np.ndarray] = []
        batches = self._held_out.iterate_all(self._batch_size)
        for (feeds, labels), teacher_outputs in zip(batches, self._kept_outputs or self._run_teacher(), strict=True):
            outputs = session.run(feeds)
            for name, fidelity in fidelities.items():
                fidelity.add(teacher_outputs[name], outputs[name])
            if self._class_output is not None:
                predicted = outputs[self._class_output].argmax(1)
                teacher_matches.append(predicted == teacher_outputs[self._class_output].argmax(1))
                if labels is not None:
                    label_matches.append(predicted == labels.reshape(-1))
        errors = [
            math.inf if f.nonfinite_elements else f.noise_energy / max(f.signal_energy, 1e-12) for f in fidelities.values()
        ]
        matches_teacher, matches_label = (
            np.concatenate(parts) if parts else None for parts in (teacher_matches, label_matches)
        )
        divergence = None
        if self._class_output is not None:
            divergence = fidelities[self._class_output].kl / fidelities[self._class_output].kl_samples
        return StudentScore(float(np.mean(errors)), matches_teacher, matches_label, divergence)


def check_same_interface(model: ir.Model, teacher: ir.Model) -> None:
    """Raise unless both models take and give the same tensors.

    Raises:
        InvalidModelError: Names the first that differs.
    """
    for kind, student_values, teacher_values in (
        ("input", shapes.get_required_inputs(model), shapes.get_required_inputs(teacher)),
        ("output", list(model.graph.outputs), list(teacher.graph.outputs)),
    ):
        student_by_name, teacher_by_name = {v.name: v for v in student_values}, {v.name: v for v in teacher_values}
        for name in [*student_by_name, *teacher_by_name]:
            if name not in student_by_name or name not in teacher_by_name:
                where = "teacher" if name not in teacher_by_name else "student"
                raise InvalidModelError(f"the {where} has no {kind} {name}: it cannot be learnt from")
        for name, value in student_by_name.items():
            student_dims, teacher_dims = shapes.get_dims(value), shapes.get_dims(teacher_by_name[name])
            if value.dtype != teacher_by_name[name].dtype or not shapes.can_agree(student_dims, teacher_dims):
                raise InvalidModelError(
                    f"{kind} {name} is {value.dtype} {student_dims} in the student and "
                    f"{teacher_by_name[name].dtype} {teacher_dims} in the teacher"
                )
