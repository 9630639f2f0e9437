"""The table of recognizers, most specific first, and what it makes of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.core.errors import OnnxslimError, UsageError
from onnxslim.data.samples import Samples
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.metrics.dataset_metrics import DATASET_METRICS
from onnxslim.validation.metrics.table import METRICS
from onnxslim.validation.output_kinds.answers import recognize_answers
from onnxslim.validation.output_kinds.class_scores import recognize_class_scores
from onnxslim.validation.output_kinds.detections import recognize_boxes, recognize_cells
from onnxslim.validation.output_kinds.frames import recognize_frame_scores, recognize_hidden_states
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.labels import add_labels
from onnxslim.validation.output_kinds.maps import recognize_images, recognize_masks
from onnxslim.validation.output_kinds.numbers import recognize_numbers
from onnxslim.validation.output_kinds.observation import ModelObservation, OutputObservation
from onnxslim.validation.output_kinds.observer import observe
from onnxslim.validation.output_kinds.states import recognize_state
from onnxslim.validation.output_kinds.vectors import (
    recognize_embeddings,
    recognize_probabilities,
    recognize_unit_vectors,
)

#: (one output, all of the model) → what it is, or None where the recognizer does not know it
Recognizer = Callable[[OutputObservation, ModelObservation], "OutputKind | None"]

#: What several outputs are together.
JOINT_RECOGNIZERS: tuple[Callable[[ModelObservation], OutputKind | None], ...] = (recognize_boxes, recognize_cells)
#: What one output is, the first that knows it; the last knows all.
RECOGNIZERS: tuple[Recognizer, ...] = (
    recognize_answers,
    recognize_unit_vectors,
    recognize_class_scores,
    recognize_masks,
    recognize_frame_scores,
    recognize_images,
    recognize_probabilities,
    recognize_hidden_states,
    recognize_embeddings,
    recognize_numbers,
)


def recognize(model: ModelObservation, *, named: Sequence[str] = ()) -> list[OutputKind]:
    """What each output of ``model`` is, in the model's order; of ``named`` ones only, where there are any.

    Raises:
        UsageError: There is no output called so.
        OnnxslimError: It is no tensor, or has no row a sample.
    """
    for name in named:
        if name in model.refused:
            raise model.refused[name]
        if name not in model.outputs:
            known_kinds = describe_kinds(recognize(model))
            raise UsageError(f"--output {name}: no such output", hint=f"the model has {known_kinds}")
    if named:
        model = replace(model, outputs={name: model.outputs[name] for name in named})
    kinds: list[OutputKind] = []
    known: set[str] = set()
    for recognize_together in JOINT_RECOGNIZERS:
        found = recognize_together(model)
        if found is not None and known.isdisjoint(found.outputs):
            kinds.append(found)
            known.update(found.outputs)
    for name, output in model.outputs.items():
        if name not in known:
            state = None if named else recognize_state(output, model)
            kinds.append(state or next(kind for one in RECOGNIZERS if (kind := one(output, model)) is not None))
    order = list(model.outputs)
    kinds.sort(key=lambda kind: order.index(kind.outputs[0]))
    if not any(kind.gates for kind in kinds):  # somebody has to be judged
        kinds = [next(kind for one in RECOGNIZERS if (kind := one(model.outputs[order[0]], model))), *kinds[1:]]
    if not named:
        kinds += [OutputKind((name,), "not judged", (), error.message) for name, error in model.refused.items()]
    return add_labels(kinds, model)


def recognize_outputs(
    model: ir.Model,
    samples: Samples,
    *,
    config: SessionConfig | None = None,
    metric: str | None = None,
    output: str | Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    dims: Mapping[str, int] | None = None,
) -> list[OutputKind]:
    """What the outputs of ``model``, the original, are on ``samples``, and so what they are judged by.

    Args:
        model: The original.
        samples: The data; fit data where there are any, so that *tune* and *confirm* are judged alike.
        config: Where it runs.
        metric: The one that the user asked for, or None.
        output: The outputs that the user named; None for all that somebody reads.
        labels: Of the data that will judge, or None.
        dims: Sizes of free dimensions.

    Raises:
        UsageError: There is no such output or metric, or it reads none of the outputs.
        UnsupportedError: No output is a tensor.
    """
    observation = observe(model, samples, config, labels=labels, dims=dims)
    named = [output] if isinstance(output, str) else list(output or ())
    kinds = recognize(observation, named=named)
    return kinds if metric is None else judge_by(metric, kinds, observation)


def judge_by(metric: str, kinds: list[OutputKind], model: ModelObservation) -> list[OutputKind]:
    """The ``kinds`` that ``metric`` can read, judged by it; what they would be judged by unasked is told beside it.

    Those come first that it is a metric of; where there are none, the first output that it can read.

    Raises:
        UsageError: It can read none, or is unknown.
    """
    if metric not in METRICS and metric not in DATASET_METRICS:
        raise UsageError(
            f"--metric {metric}: unknown", hint=f"one of {', '.join([*METRICS, *DATASET_METRICS])}, or module:function"
        )
    chosen = [kind for kind in kinds if metric in kind.all_metrics]
    if not chosen and metric in DATASET_METRICS and DATASET_METRICS[metric].reads_all:
        reason = f"--metric {metric} reads them together"
        joint = OutputKind(tuple(model.outputs), "outputs", (metric,), reason, reads_labels=True)
        if _can_read(metric, joint, model):
            return [joint]
    chosen = chosen or [kind for kind in kinds if _can_read(metric, kind, model)][:1]
    if not chosen:
        raise UsageError(f"metric {metric} can read no output", hint=f"the model gives {describe_kinds(kinds)}")
    return [_judge_kind_by(metric, kind) for kind in chosen]


def describe_kinds(kinds: Sequence[OutputKind]) -> str:
    """Outputs and what each was taken for, for a message."""
    return ", ".join(f"{kind.title} ({kind.name})" for kind in kinds)


def _judge_kind_by(metric: str, kind: OutputKind) -> OutputKind:
    kind = replace(kind, leniency=1.0, mild=(), alternative=None)  # guards stay with what stands in for labels
    if metric not in kind.label_gates:  # which naming the metric of these labels changes nothing of
        kind = replace(kind, label_guards=())
    against = METRICS[metric].against if metric in METRICS else DATASET_METRICS[metric].against
    if against == "labels":  # where there are none, what the output would be judged by unasked stands in
        return replace(kind, label_gates=(metric,), reads_labels=True)
    beside = tuple(name for name in dict.fromkeys((*kind.label_gates, *kind.gates, *kind.beside)) if name != metric)
    kind = replace(kind, gates=(metric,), beside=beside, guards=())
    if against == "either":
        return replace(kind, label_gates=(metric,), reads_labels=not kind.blank_last)
    return replace(kind, label_gates=())


def _can_read(metric: str, kind: OutputKind, model: ModelObservation) -> bool:
    """Whether ``metric`` takes the outputs of ``kind``; labels are another matter."""
    rows = {name: model.outputs[name].rows[0][None] for name in kind.outputs}
    values = kind.arrange(rows[kind.outputs[0]])
    if metric in METRICS and METRICS[metric].against == "labels":
        return values.dtype.kind == "f" or METRICS[metric].name == "top1"
    try:
        if metric in METRICS:
            METRICS[metric].parts(values, values, None)
        else:
            given = rows if DATASET_METRICS[metric].reads_all else values
            DATASET_METRICS[metric]().add(given, given, None, 1)
    except (OnnxslimError, ValueError, IndexError, np.exceptions.AxisError):
        return False
    return True
