"""Which output is judged, and by which metrics when the user named none (contract.md, "What is judged")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.validate.metrics import METRICS, Metric, is_scores

_ZIPMAP_HINT = "name a tensor with --output, or export without ZipMap (skl2onnx: options={'zipmap': False})"


def pick_output(outputs: Mapping[str, Any], n: int, wanted: str | None = None) -> str:
    """The judged output: ``wanted``, else the first float one of shape (N, C), else the first float one, or the first.

    Args:
        outputs: What the model gave for one batch, by name.
        n: Samples in that batch.
        wanted: The name the user gave.

    Raises:
        UsageError: ``wanted`` is not an output.
        UnsupportedError: It, or with none wanted any output, is a ZipMap's or another sequence, not a tensor.
    """
    if wanted is not None and wanted not in outputs:
        raise UsageError(f"--output {wanted}: no such output", hint=f"the model has {', '.join(outputs)}")
    for name in outputs if wanted is None else (wanted,):
        if not isinstance(outputs[name], np.ndarray):
            raise UnsupportedError(f"output {name} is a sequence or a map (ZipMap), not a tensor", hint=_ZIPMAP_HINT)
    if wanted is not None:
        return wanted
    real = [name for name, values in outputs.items() if values.dtype.kind == "f"]
    scores = [name for name in real if is_scores(outputs[name]) and len(outputs[name]) == n]
    return next(iter(scores or real or outputs))


def rows(name: str, values: np.ndarray, n: int) -> np.ndarray:
    """Output ``name`` with the sample on the first axis; of one sample, an output of any shape is its only row.

    Raises:
        UsageError: Several samples and not one row each.
    """
    if values.ndim and len(values) == n:
        return values
    if n == 1:
        return values[None]
    raise UsageError(
        f"output {name} has shape {values.shape} for {n} samples: expected one row per sample",
        hint="name another with --output, or use --batch-size 1",
    )


def choose_metrics(
    values: np.ndarray, labels: np.ndarray | None, wanted: str | None = None, *, alone: bool = False
) -> tuple[list[Metric], list[str]]:
    """The metrics to tally, the one that gates first, and warnings.

    Args:
        values: One batch of the judged output, the sample on the first axis.
        labels: Of all samples, or None.
        wanted: The metric the user named; the default ones follow it, because the report and the checks want them.
        alone: There is no original to compare with.

    Raises:
        UsageError: ``wanted`` compares with an original, or with labels, that are not there.
    """
    default = [metric for metric in METRICS.values() if metric.suits(values, labels)]
    warnings = []
    if labels is not None and wanted is None and all(metric.against == "original" for metric in default):
        warnings.append(
            f"the labels ({labels.dtype}, shape {labels.shape}) are not used: no default metric reads them against an"
            f" output of shape {values.shape}; name one with --metric ({', '.join(METRICS)})"
        )
    chosen = default if wanted is None else list(dict.fromkeys([METRICS[wanted], *default]))
    possible = [metric for metric in chosen if _can(metric, labels is not None, not alone)]
    if wanted is not None and METRICS[wanted] not in possible:
        lacks = "labels" if METRICS[wanted].against == "labels" else "a reference model to compare with"
        raise UsageError(f"metric {wanted} needs {lacks}")
    return possible, warnings


def _can(metric: Metric, labels: bool, original: bool) -> bool:
    return {"labels": labels, "original": original, "either": labels or original}[metric.against]
