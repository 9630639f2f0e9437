"""The teacher, and the judge: both through the runtime that will serve the model."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
import torch

from onnxslim.activations.working_set import estimate_peak_bytes, limit_batch_size
from onnxslim.core.errors import InvalidModelError, UnsupportedError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.recovery.distillation.losses import divergence_by_sample
from onnxslim.recovery.distillation.sample_cache import NamedArrays, SampleCache
from onnxslim.recovery.distillation.student_score import StudentScore
from onnxslim.recovery.torch_model.partition import Partition
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.validation.output_fidelity import OutputFidelity
from onnxslim.validation.output_kinds.recognition import recognize_outputs

#: Samples in one run of the judge, where they are small inside, and bytes of the teacher's outputs that are kept.
_BATCH_SIZE, _MAX_KEPT_BYTES = 64, 64_000_000


class TappedModel:
    """Tensors of a model, by name, as the runtime computes them."""

    def __init__(self, model: ir.Model, names: Sequence[str], config: SessionConfig) -> None:
        self.names = list(names)
        self._session = Session(tap_outputs(model, self.names, only=True), config) if self.names else None

    def select(self, names: Sequence[str]) -> TappedModel:
        """Only ``names`` of them, from the same session: a model that is held once."""
        selected = copy.copy(self)
        selected.names = list(names)
        return selected

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


def find_class_outputs(teacher: ir.Model, samples: Samples, config: SessionConfig) -> list[str]:
    """The outputs of ``teacher`` that are one score a class, (n, classes): those that results are judged by as such.

    A row of numbers does not say whether its largest means anything: those of an embedding's do not.

    Raises:
        LimitError: The runtime ran out of memory.
    """
    try:
        kinds = recognize_outputs(teacher, samples, config=config, labels=samples.labels)
    except (UnsupportedError, UsageError):  # none is a tensor with a row a sample; a lack of memory says nothing of that
        return []
    return [kind.outputs[0] for kind in kinds if kind.name == "class scores" and not kind.squeezed]


class StudentEvaluator:
    """Models scored against the teacher's outputs on held-back samples, which are kept where they are few bytes.

    Args:
        teacher: Read only.
        held_out: The samples.
        config: How the runtime runs both.
        class_outputs: The teacher's outputs that hold class scores.

    Attributes:
        class_outputs: Those of them that are (n, classes): where one sample is a run, the first axis may be left out.
    """

    def __init__(
        self, teacher: ir.Model, held_out: SampleCache, config: SessionConfig, class_outputs: Sequence[str] = ()
    ) -> None:
        self._held_out, self._config = held_out, config
        session = Session(teacher, config)
        largest = held_out.take_largest()
        outputs, rows = _run(session, largest), held_out.count_rows(largest)
        peak_bytes = estimate_peak_bytes(teacher, largest)
        self._batch_size = limit_batch_size(peak_bytes / rows, _BATCH_SIZE)
        output_bytes = sum(value.nbytes for value in outputs.values()) / rows
        self._run_teacher: Callable[[], Iterable[NamedArrays]] = partial(self._run_on_all, session)
        if output_bytes * len(held_out) <= _MAX_KEPT_BYTES:
            kept = list(self._run_teacher())
            self._run_teacher = lambda: kept  # and the session is let go of
        self._float_outputs = [name for name, value in outputs.items() if value.dtype.kind == "f"]
        # members of sequences are outputs to those who judge kinds, and numbers here
        self.class_outputs = [name for name in class_outputs if name in outputs and outputs[name].ndim == 2]
        self._class_output = next(iter(self.class_outputs), None)

    def _run_on_all(self, session: Session) -> Iterator[NamedArrays]:
        return (_run(session, feeds) for feeds, _ in self._held_out.iterate_all(self._batch_size))

    def score(self, model: ir.Model) -> StudentScore:
        """Run ``model`` on the held-back samples."""
        session = Session(model, self._config)
        fidelities = {name: OutputFidelity() for name in self._float_outputs}
        teacher_matches: list[np.ndarray] = []
        label_matches: list[np.ndarray] = []
        losses = _SampleLosses(self.class_outputs)
        batches = self._held_out.iterate_all(self._batch_size)
        for (feeds, labels), teacher_outputs in zip(batches, self._run_teacher(), strict=True):
            outputs = _run(session, feeds)
            for name, fidelity in fidelities.items():
                fidelity.add(teacher_outputs[name], outputs[name])
            losses.add(
                {name: (teacher_outputs[name], outputs[name]) for name in self._float_outputs},
                self._held_out.count_rows(feeds),
            )
            if self._class_output is not None:
                predicted = outputs[self._class_output].argmax(1)
                teacher_matches.append(predicted == teacher_outputs[self._class_output].argmax(1))
                if labels is not None:
                    label_matches.append(predicted == labels.reshape(-1))
        errors = [
            math.inf if f.nonfinite_elements else f.noise_energy / max(f.signal_energy, 1e-12) for f in fidelities.values()
        ]
        matches_teacher, matches_label = (
            self._average_views(np.concatenate(parts)) if parts else None for parts in (teacher_matches, label_matches)
        )
        divergence = None
        if self._class_output is not None:
            divergence = fidelities[self._class_output].kl / fidelities[self._class_output].kl_samples
        sample_losses = losses.compute()
        if sample_losses is not None:
            sample_losses = self._average_views(sample_losses)
        return StudentScore(float(np.mean(errors)), matches_teacher, matches_label, divergence, sample_losses)

    def _average_views(self, values: np.ndarray) -> np.ndarray:
        """One value a row, as one a sample; what is no value a row stays as it is."""
        views = self._held_out.views
        return values.reshape(views, -1).mean(0) if views > 1 and len(values) == len(self._held_out) else values


def _run(session: Session, feeds: NamedArrays) -> NamedArrays:
    """The outputs that are tensors, and the numbers of sequences of such one after another; maps are left out."""
    arrays: NamedArrays = {}
    for name, value in session.run(feeds).items():
        members = value if isinstance(value, list) else [value]
        if all(isinstance(member, np.ndarray) for member in members):
            flat = [member.reshape(-1) for member in members] or [np.empty(0, np.float32)]
            arrays[name] = np.concatenate(flat) if isinstance(value, list) else value
    return arrays


class _SampleLosses:
    """The loss of each sample, gathered by batch: of outputs that have no row a sample, one a batch."""

    def __init__(self, class_outputs: Sequence[str]) -> None:
        self._class_outputs = class_outputs
        self._terms: dict[str, list[np.ndarray]] = {}
        self._signals: dict[str, list[np.ndarray]] = {}

    def add(self, outputs: dict[str, tuple[np.ndarray, np.ndarray]], rows: int) -> None:
        """Take in one batch of ``rows`` samples: of each output the teacher's and the student's."""
        has_rows = all(theirs.ndim and len(theirs) == rows for theirs, _ in outputs.values())
        for name, (theirs, mine) in outputs.items():
            a, b = (torch.from_numpy(np.ascontiguousarray(values, np.float64)) for values in (theirs, mine))
            if a.shape != b.shape:
                loss, signal = torch.full((rows if has_rows else 1,), math.inf), torch.ones(1)
            elif has_rows and name in self._class_outputs:
                loss, signal = divergence_by_sample(b, a), torch.ones(1)
            else:
                a, b = (values.reshape(rows if has_rows else 1, -1) for values in (a, b))
                loss, signal = (a - b).square().sum(1), a.square().sum(1)
            is_known = a.reshape(len(loss), -1).isfinite().all(1)  # how far from what says nothing is not defined
            loss = torch.where(is_known, loss.nan_to_num(math.inf, math.inf), 0.0)
            self._terms.setdefault(name, []).append(loss.numpy())
            self._signals.setdefault(name, []).append(signal.nan_to_num(0.0, 0.0, 0.0).numpy())

    def compute(self) -> np.ndarray | None:
        """Float64 (n,), or None where there are no outputs to tell it from."""
        totals = [
            np.concatenate(terms) / max(float(np.concatenate(self._signals[name]).mean()), 1e-12)
            for name, terms in self._terms.items()
        ]
        return np.sum(totals, axis=0) if totals else None


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
