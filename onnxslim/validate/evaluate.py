"""Evaluate: models against their original, one pass over the samples, and what that proves.

Every batch goes through the original and the others and is then forgotten; what stays is a few numbers per sample. Of
sequences each model carries its own state from step to step, so that what it gets wrong comes back to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.errors import InvalidDataError, InvalidModelError, UsageError
from onnxslim.progress import Progress, silent
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.stateful import Stateful
from onnxslim.validate.function import UserMetric
from onnxslim.validate.ledger import Evaluation, Ledger, Outputs
from onnxslim.validate.metrics import METRICS
from onnxslim.validate.whole import WHOLE

#: Samples at a time when nobody says: at most so many, and inputs of at most so many bytes, because what a network
#: holds inside grows with them.
BATCH, BATCH_BYTES = 64, 4 << 20


def evaluate(
    model: io.ModelLike,
    samples: Samples,
    *,
    reference: io.ModelLike | None = None,
    config: SessionConfig | None = None,
    metric: str | UserMetric | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Judge ``model`` on ``samples``, paired against ``reference`` when there is one.

    Args:
        model: What is judged.
        samples: The data; its labels, where it has them, decide what "right" is.
        reference: The original. Without it only metrics that labels decide can be told, and no drop.
        config: How both sessions run.
        metric: A name of :data:`~onnxslim.validate.metrics.METRICS` or of
            :data:`~onnxslim.validate.whole.WHOLE`, or a function of (outputs, labels) that gives a
            value per sample or one value, higher being better (:class:`~onnxslim.validate.function.FunctionTally`). By
            default: top-1, top-5 and agreement for scores (N, C) with labels, agreement without, mIoU for scores
            (N, C, H, W) with labels of shape (N, H, W), AP for outputs called boxes and scores, agreement for integers,
            1 - ‖a - b‖ / ‖a‖ for all else.
        output: The output to judge (:func:`~onnxslim.validate.judged.pick_output`).
        batch_size: Samples at a time, where the model leaves that free; by default what 4 MB of inputs hold, up to 64.
        progress: Called after each batch with the number of samples done.

    Raises:
        UsageError: No such metric or output, nothing to judge by, or a metric function that raised.
        InvalidDataError: The labels do not fit, there are no samples, or the original does no better than guessing.
        InvalidModelError: The two models do not have the same outputs.
        UnsupportedError: The output is a sequence or a map.
    """
    return evaluate_all(
        {"result": model}, samples, reference=reference, config=config, metric=metric, output=output,
        batch_size=batch_size, progress=progress,
    )["result"]  # fmt: skip


def evaluate_all(
    models: Mapping[str, io.ModelLike],
    samples: Samples,
    *,
    reference: io.ModelLike | None = None,
    config: SessionConfig | None = None,
    metric: str | UserMetric | None = None,
    output: str | None = None,
    batch_size: int | None = None,
    progress: Progress = silent,
) -> dict[str, Evaluation]:
    """Judge several models in one pass over ``samples``, each as :func:`evaluate` does; the original runs once for all.

    Args and errors are those of :func:`evaluate`; ``models`` and what is returned are by the caller's names.
    """
    if isinstance(metric, str) and metric not in METRICS and metric not in WHOLE:
        names = ", ".join([*METRICS, *WHOLE])
        raise UsageError(f"--metric {metric}: unknown", hint=f"one of {names}, or module:function")
    original = None if reference is None else Stateful(Session(io.load(reference), config), samples.state)
    sessions = {name: Stateful(Session(io.load(model), config), samples.state) for name, model in models.items()}
    for session in sessions.values():
        if original is not None and (missing := [name for name in original.outputs if name not in session.outputs]):
            raise InvalidModelError(
                f"the result has no output {missing[0]}, which the original has",
                hint=f"it has {', '.join(session.outputs)}",
            )
    ledgers: dict[str, Ledger] = {}
    labels, times = samples.labels, samples.times
    longest = 0 if times is None else int(times.max()) + 1
    for indices, theirs, ours in _runs(samples, original, sessions, batch_size):
        n, known = len(indices), None if labels is None else labels[indices]
        for name, outputs in ours.items():
            if name not in ledgers:
                ledgers[name] = Ledger(outputs, theirs, labels, n, metric, output, longest=longest)
            ledgers[name].add(outputs, theirs, known, n)
            if times is not None:
                ledgers[name].add_in_time(outputs, theirs, times[indices])
        progress("evaluate", indices.stop, len(samples))
    if not ledgers:
        raise InvalidDataError(f"{samples.source}: no samples to evaluate on")
    random = samples.source.split(",")[0] == "random"
    return {name: ledger.close(labels, random=random) for name, ledger in ledgers.items()}


def _runs(
    samples: Samples, original: Stateful | None, results: Mapping[str, Stateful], batch_size: int | None
) -> Iterator[tuple[range, Outputs | None, dict[str, Outputs]]]:
    """The outputs of the original and of each result, batch by batch; those of single steps some at a time."""
    wanted = None if original is None else original.outputs
    continues = samples.continues
    pending: list[tuple[Outputs | None, dict[str, Outputs]]] = []
    for batch in samples.batches(1 if samples.state else batch_size or _batch(samples)):
        first = batch.indices.start
        goes_on = bool(samples.state) and bool(continues[first])
        theirs: Outputs | None = None if original is None else original.run(batch, continues=goes_on)
        ours: dict[str, Outputs] = {
            name: result.run(batch, wanted, continues=goes_on) for name, result in results.items()
        }
        if not samples.state:
            yield batch.indices, theirs, ours
            continue
        pending.append((theirs, ours))
        if len(pending) == BATCH or first + 1 == len(samples):
            yield from _together(first + 1, pending)
            pending = []


def _together(
    stop: int, steps: Sequence[tuple[Outputs | None, dict[str, Outputs]]]
) -> Iterator[tuple[range, Outputs | None, dict[str, Outputs]]]:
    """The outputs of steps that were run one by one as those of one batch, which ends before sample ``stop``."""
    start = stop - len(steps)
    every = [outputs for theirs, ours in steps for outputs in (theirs, *ours.values()) if outputs is not None]
    shapes = {tuple((name, np.shape(v)) if isinstance(v, np.ndarray) else None for name, v in o.items()) for o in every}
    if len(shapes) > 1 or None in next(iter(shapes)):
        yield from ((range(start + i, start + i + 1), *step) for i, step in enumerate(steps))
        return
    theirs = [theirs for theirs, _ in steps if theirs is not None]
    ours = {name: _stacked([step[name] for _, step in steps]) for name in steps[0][1]}
    yield range(start, stop), _stacked(theirs) if theirs else None, ours


def _stacked(steps: Sequence[Outputs]) -> Outputs:
    """Outputs with a row a step: along their own first axis where that counts samples, else along a new one."""
    return {
        name: (np.concatenate if value.ndim and len(value) == 1 else np.stack)([step[name] for step in steps])
        for name, value in steps[0].items()
    }


def _batch(samples: Samples) -> int:
    sample = sum(4 * math.prod(shape or ()) for shape in samples.shapes.values())
    return max(1, min(BATCH, BATCH_BYTES // max(sample, 1)))
