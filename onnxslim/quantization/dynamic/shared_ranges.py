"""Layers that stay float because of samples that are not finite: dynamic int8 takes one range of all that a run reads.

DynamicQuantizeLinear (ONNX, opset 11) has one scale for its whole input. A sample that is NaN in it, as one whose every
place is masked is behind a softmax, leaves onnxruntime's with a range of what comes after that sample, or with none: the
other samples of the batch are clipped or lost. In float they keep to themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from onnxslim.core.step_report import StepReport
from onnxslim.quantization.dynamic.layer_error import Layer, ObservedActivation

AnyLayer = TypeVar("AnyLayer", bound=Layer)

#: Why a layer stays float, and why none can be int8.
SHARED_RANGE_REASON = (
    "what it reads is not finite on some of the data, and dynamic int8 takes one range of a whole batch: "
    "the other samples would be lost with those"
)


def count_odd_samples(activation: ObservedActivation, *, runs_alone: bool) -> int:
    """On how many samples what is not finite in ``activation`` would spoil something else: another sample of the batch, or
    other rows of its own.

    Args:
        activation: What a layer reads.
        runs_alone: Whether every run takes one sample, so that one that is lost as a whole harms no other.
    """
    return activation.partly_odd + (0 if runs_alone else activation.wholly_odd)


def find_spoiled_layers(
    layers: Sequence[AnyLayer], observations: Mapping[str, ObservedActivation], report: StepReport, *, runs_alone: bool
) -> list[AnyLayer]:
    """Those of ``layers`` that must stay float, in order; ``report`` is warned of them.

    Args:
        layers: What is to become int8.
        observations: What they read, by tensor; what is not there could not be seen.
        report: Told on how many samples.
        runs_alone: As :func:`count_odd_samples`'s.
    """
    counts = {
        layer: count_odd_samples(activation, runs_alone=runs_alone)
        for layer in layers
        if (activation := observations.get(str(layer.activation.name))) is not None
    }
    spoiled = [layer for layer, count in counts.items() if count]
    if spoiled:
        most = max(counts.values())
        samples = "1 sample holds" if most == 1 else f"{most} samples hold"
        read = "1 layer reads" if len(spoiled) == 1 else f"{len(spoiled)} layers read"
        report.warnings.append(
            f"{samples} NaN or infinity in what {read}: float there, for dynamic int8 takes one range of a whole batch, "
            "which such a sample spoils for the others; leave them out of the data where they never come in service"
        )
    return spoiled
