"""What is judged, and by what: settled once for a task, so that every set is judged alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

import onnx_ir as ir

from onnxslim.data.samples import Samples
from onnxslim.pipeline.data_options import DataOptions
from onnxslim.pipeline.data_splits import ENOUGH_LABELS, MIN_TELLING_LABELS, DataSplits
from onnxslim.runtime.session import SessionConfig
from onnxslim.validation.metrics.user_metric import UserMetric
from onnxslim.validation.output_kinds.kind import OutputKind
from onnxslim.validation.output_kinds.recognition import recognize_outputs


@dataclass(frozen=True)
class EvaluationOptions:
    """What is judged, and by what; see :func:`onnxslim.validation.evaluation.evaluate`.

    Attributes:
        kinds: What the outputs are; by default that is looked at on the fit data, so that every set is judged alike.
        labels_decide: Every set that judges has many labels, and so they alone decide; by default that is looked at.
    """

    metric: str | UserMetric | None = None
    output: str | tuple[str, ...] | None = None
    batch_size: int | None = None
    kinds: tuple[OutputKind, ...] | None = None
    labels_decide: bool | None = None


def count_labels(samples: Samples) -> int:
    """How many samples have a label."""
    return 0 if samples.labels is None else len(samples)


def settle_judging(
    original: ir.Model, splits: DataSplits, judge: EvaluationOptions, config: SessionConfig, read: DataOptions
) -> EvaluationOptions:
    """``judge`` with what the outputs are, by the fit data where there are any, and by the labels of what judges."""
    sets = [one for one in (splits.confirm, splits.tune, splits.fit) if one is not None]
    if splits.confirm is None or judge.kinds is not None:
        return judge
    kinds = recognize_outputs(
        original, splits.fit or sets[0], config=config, metric=judge.metric if isinstance(judge.metric, str) else None,
        output=judge.output, labels=next((one.labels for one in sets if one.labels is not None), None), dims=read.dims,
    )  # fmt: skip
    judging = [one for one in (splits.tune, splits.confirm) if one is not None]
    decide = all(count_labels(one) >= ENOUGH_LABELS for one in judging)
    if count_labels(splits.confirm) >= MIN_TELLING_LABELS:  # they judge, and every set is judged alike
        kinds = [kind.drop_guards() for kind in kinds]
    return replace(judge, kinds=tuple(kinds), labels_decide=decide)
