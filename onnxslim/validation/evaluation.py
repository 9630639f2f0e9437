"""Evaluate: models against their original, one pass over the samples, and what that proves.

Every batch goes through the original and the others and is then forgotten; what stays is a few numbers per sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, InvalidModelError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.model_io import model_file
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.runtime.zipmap import note_zipmaps
from onnxslim.validation.evaluation_accumulator import Evaluation, EvaluationAccumulator
from onnxslim.validation.kind_accumulator import check_measurable
from onnxslim.validation.metrics.user_metric import UserMetric
from onnxslim.validation.nan_samples import NanSamples
from onnxslim.validation.output_kinds.kind import LabelWeight, OutputKind
from onnxslim.validation.output_kinds.recognition import describe_kinds, recognize_outputs
from onnxslim.validation.output_rows import NoRowsError
from onnxslim.validation.paired_runs import choose_batch_size, run_batches
from onnxslim.validation.sequences import texts


def evaluate(
    model: model_file.ModelLike,
    samples: Samples,
    *,
    reference: model_file.ModelLike | None = None,
    config: SessionConfig | None = None,
    metric: str | UserMetric | None = None,
    output: str | Sequence[str] | None = None,
    kinds: Sequence[OutputKind] | None = None,
    label_weight: LabelWeight = "alone",
    batch_size: int | None = None,
    progress: Progress = ignore_progress,
) -> Evaluation:
    """Judge ``model`` on ``samples``, paired against ``reference`` when there is one.

    Args:
        model: What is judged.
        samples: The data; its labels, where it has them, decide what "right" is.
        reference: The original. Without it only metrics that labels decide can be told, and no drop.
        config: How both sessions run.
        metric: A name of :data:`~onnxslim.validation.metrics.table.METRICS` or of
            :data:`~onnxslim.validation.metrics.dataset_metrics.DATASET_METRICS`, or a function of (outputs, labels)
            that gives a value per sample or one value, higher being better
            (:class:`~onnxslim.validation.metrics.user_metric.UserMetricAccumulator`). By default each output is judged by
            what it is.
        output: The outputs to judge; by default all that somebody reads.
        kinds: What they are, where that is settled; by default it is looked at on ``samples``
            (:func:`~onnxslim.validation.output_kinds.recognition.recognize_outputs`).
        label_weight: Whether labels, where there are any, decide alone, beside the original's outputs, or are only told.
        batch_size: Samples at a time, where the model leaves that free; by default what 4 MB of inputs hold, up to
            64, and fewer where the model or its outputs are large inside.
        progress: Called after each batch with the number of samples done.

    Raises:
        UsageError: No such metric or output, nothing to judge by, or a metric function that raised.
        InvalidDataError: The labels do not fit, there are no samples, or the original does no better than guessing.
        InvalidModelError: The two models do not have the same outputs.
        UnsupportedError: The output is a sequence or a map.
    """
    for name, given in (("the original", reference), ("the model", model)):
        if given is not None:
            check_survives(model_file.load(given), config, name=name)
    return evaluate_all(
        {"result": model}, samples, reference=reference, config=config, metric=metric, output=output, kinds=kinds,
        label_weight=label_weight, batch_size=batch_size, progress=progress,
    )["result"]  # fmt: skip


def evaluate_all(
    models: Mapping[str, model_file.ModelLike],
    samples: Samples,
    *,
    reference: model_file.ModelLike | None = None,
    config: SessionConfig | None = None,
    metric: str | UserMetric | None = None,
    output: str | Sequence[str] | None = None,
    kinds: Sequence[OutputKind] | None = None,
    label_weight: LabelWeight = "alone",
    batch_size: int | None = None,
    goes_on: bool = True,
    progress: Progress = ignore_progress,
) -> dict[str, Evaluation]:
    """Judge several models in one pass over ``samples``, each as :func:`evaluate` does; the original runs once for all.

    Args and errors are those of :func:`evaluate`; ``models`` and what is returned are by the caller's names. Samples whose
    outputs have no row each are run one by one, unless ``batch_size`` says otherwise. Of texts it is told beside the
    rest how the models go on by themselves, unless not ``goes_on`` (:mod:`onnxslim.validation.sequences.texts`).
    """
    original = None if reference is None else model_file.load(reference)
    # the original judged as itself is one model, and runs once
    loaded = {
        name: original if original is not None and model is reference else model_file.load(model)
        for name, model in models.items()
    }
    if kinds is None:
        if isinstance(metric, str):
            check_measurable(metric, has_labels=samples.labels is not None, has_original=original is not None)
        kinds = recognize_outputs(
            original or next(iter(loaded.values())), samples, config=config, output=output, labels=samples.labels,
            metric=metric if isinstance(metric, str) else None,
        )  # fmt: skip
    if samples.labels is not None:
        kinds = [kind.weigh_labels(label_weight) for kind in kinds]
    # the caller's own object, where it is one: what is known of it need not be found out again
    planned = reference if isinstance(reference, ir.Model) else original or next(iter(loaded.values()))
    run = partial(
        _evaluate_in_batches, loaded, samples, kinds, original=original, planned=planned, config=config,
        function=metric if callable(metric) else None, names_output=bool(output), goes_on=goes_on, progress=progress,
    )  # fmt: skip
    try:
        return run(batch_size=batch_size)
    except NoRowsError as error:
        if samples.fixed_batch is None and batch_size is None:
            return run(batch_size=1)
        if samples.fixed_batch is None:
            raise
        hint = f"name another with --output; its batch is fixed at {samples.fixed_batch}: export it with 1, or a free one"
        raise UsageError(error.message, hint=hint) from None


def _evaluate_in_batches(
    models: Mapping[str, ir.Model],
    samples: Samples,
    kinds: Sequence[OutputKind],
    *,
    original: ir.Model | None,
    planned: ir.Model,
    config: SessionConfig | None,
    function: UserMetric | None,
    names_output: bool,
    goes_on: bool,
    batch_size: int | None,
    progress: Progress,
) -> dict[str, Evaluation]:
    """See :func:`evaluate_all`."""
    original_session = None if original is None else StatefulSession(Session(original, config), samples.state)
    sessions = {
        name: original_session
        if original_session is not None and model is original
        else StatefulSession(Session(model, config), samples.state)
        for name, model in models.items()
    }
    for session in sessions.values():
        missing = [name for name in original_session.outputs if name not in session.outputs] if original_session else []
        if missing:
            raise InvalidModelError(
                f"the result has no output {missing[0]}, which the original has",
                hint=f"it has {', '.join(session.outputs)}",
            )
    accumulators: dict[str, EvaluationAccumulator] = {}
    labels, times = samples.labels, samples.times
    scores = None if original is None else texts.find_scores(samples, kinds)
    next_tokens = {} if scores is None else {name: texts.NextTokens(samples, scores) for name in models}
    longest_sequence = 0 if times is None else int(times.max()) + 1
    if batch_size is None and not samples.state:
        batch_size = choose_batch_size(planned, original_session or next(iter(sessions.values())), samples)
    nan_samples = NanSamples({} if samples.state else models)
    for indices, original_outputs, result_outputs in run_batches(samples, original_session, sessions, batch_size or 1):
        n, batch_labels = len(indices), None if labels is None else labels[indices]
        nan_samples.add(original_outputs, n)
        for name, outputs in result_outputs.items():
            if name not in accumulators:
                accumulators[name] = EvaluationAccumulator(
                    kinds,
                    outputs,
                    original_outputs,
                    labels,
                    function,
                    names_output=names_output,
                    longest_sequence=longest_sequence,
                )
            accumulators[name].add(outputs, original_outputs, batch_labels, n)
            if times is not None:
                accumulators[name].add_steps(outputs, original_outputs, times[indices])
            if name in next_tokens and scores is not None and original_outputs is not None:
                next_tokens[name].add(outputs[scores], original_outputs[scores], indices)
        progress("evaluate", indices.stop, len(samples))
    if not accumulators:
        raise InvalidDataError(f"{samples.source}: no samples to evaluate on")
    random = samples.is_random
    evaluations = {name: ledger.compute(labels, random=random) for name, ledger in accumulators.items()}
    for name, tokens in next_tokens.items():
        evaluations[name].metrics.extend(found for found in [tokens.compute()] if found is not None)
    if scores is not None and goes_on and original is not None and original_session is not None:
        continued = texts.compare_continuations(original_session, sessions, samples, scores, original)
        for name, metric in continued.items():
            evaluations[name].metrics.append(metric)
    unused = labels is not None and function is None and not any(kind.reads_labels for kind in kinds)
    for name, evaluation in evaluations.items():
        evaluation.warnings.extend([*note_zipmaps(models[name]), *nan_samples.find_warnings(name)])
        if unused and labels is not None:
            taken = describe_kinds(kinds)
            evaluation.warnings.append(
                f"the labels ({labels.dtype}, shape {labels.shape}) are not used: they fit none of the outputs, {taken}"
            )
    return evaluations
