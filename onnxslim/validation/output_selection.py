"""Which output is judged, and by which metrics when the user named none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.core.errors import UnsupportedError, UsageError
from onnxslim.validation.metrics.classification import is_scores
from onnxslim.validation.metrics.metric import Metric
from onnxslim.validation.metrics.table import METRICS

_ZIPMAP_HINT = "name a tensor with --output, or export without ZipMap (skl2onnx: options={'zipmap': False})"


class NoRowsError(UsageError):
    """An output has no row a sample: a mean over the batch, or one list of what was found in all of it."""


def pick_output(outputs: Mapping[str, Any], n: int, output_name: str | None = None) -> str:
    """The judged output, by what the model gave for a batch of ``n`` samples.

    It is ``output_name``, else the first float one of shape (N, C), else the first float one, or the first; of several
    samples one with a row for each of them comes before one without.

    Raises:
        UsageError: ``output_name`` is not an output.
        UnsupportedError: It, or with none wanted any output, is a ZipMap's or another sequence, not a tensor.
    """
    if output_name is not None and output_name not in outputs:
        raise UsageError(f"--output {output_name}: no such output", hint=f"the model has {', '.join(outputs)}")
    for name in outputs if output_name is None else (output_name,):
        if not isinstance(outputs[name], np.ndarray):
            raise UnsupportedError(f"output {name} is a sequence or a map (ZipMap), not a tensor", hint=_ZIPMAP_HINT)
    if output_name is not None:
        return output_name
    float_outputs = [name for name, values in outputs.items() if values.dtype.kind == "f"]
    scores = [name for name in float_outputs if is_scores(outputs[name]) and len(outputs[name]) == n]
    if scores or n == 1:
        return next(iter(scores or float_outputs or outputs))
    rows = [name for name in (*float_outputs, *outputs) if outputs[name].ndim and len(outputs[name]) == n]
    return next(iter(rows or float_outputs or outputs))


def as_rows(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Output ``name`` with the sample on the first axis; of one sample, an output of any shape is its only row.

    Raises:
        NoRowsError: Several samples and not one row each.
    """
    if values.ndim and len(values) == n:
        return values
    if n == 1:
        return values[None]
    raise NoRowsError(
        f"output {name} has shape {values.shape} for {n} samples: expected one row per sample",
        hint="name another with --output, or use --batch-size 1",
    )


def choose_metrics(
    values: np.ndarray, labels: np.ndarray | None, metric_name: str | None = None, *, without_reference: bool = False
) -> tuple[list[Metric], list[str]]:
    """The metrics to tally, the one that gates first, and warnings.

    Args:
        values: One batch of the judged output, the sample on the first axis.
        labels: Of all samples, or None.
        metric_name: The metric the user named; the default ones follow it, because the report and the checks want them.
        without_reference: There is no original to compare with.

    Raises:
        UsageError: ``metric_name`` compares with an original, or with labels, that are not there.
    """
    default = [metric for metric in METRICS.values() if metric.is_default_for(values, labels)]
    warnings = []
    if labels is not None and metric_name is None and all(metric.against == "original" for metric in default):
        warnings.append(
            f"the labels ({labels.dtype}, shape {labels.shape}) are not used: no default metric reads them against an"
            f" output of shape {values.shape}; name one with --metric ({', '.join(METRICS)})"
        )
    chosen = default if metric_name is None else list(dict.fromkeys([METRICS[metric_name], *default]))
    measurable = [metric for metric in chosen if _is_measurable(metric, labels is not None, not without_reference)]
    if metric_name is not None and METRICS[metric_name] not in measurable:
        missing = "labels" if METRICS[metric_name].against == "labels" else "a reference model to compare with"
        raise UsageError(f"metric {metric_name} needs {missing}")
    return measurable, warnings


def _is_measurable(metric: Metric, labels: bool, original: bool) -> bool:
    return {"labels": labels, "original": original, "either": labels or original}[metric.against]
