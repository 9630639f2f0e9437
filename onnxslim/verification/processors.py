"""Whether a candidate answers alike on other processors: asked of them under emulation, and of its weights and ranges."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import onnx_ir as ir

from onnxslim.core.errors import InvalidDataError, InvalidModelError, UnsupportedError, UsageError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.data.split import draw_samples
from onnxslim.quantization.evaluation.saturating_layers import SaturatingLayer, find_saturating_layers
from onnxslim.runtime.emulation.emulated_session import EmulatedSession, HandOverError
from onnxslim.runtime.emulation.processor_table import PROCESSORS, find_interpreter
from onnxslim.runtime.session import Session, SessionConfig
from onnxslim.runtime.stateful_session import StatefulSession
from onnxslim.validation.evaluation_accumulator import Evaluation, EvaluationAccumulator
from onnxslim.validation.metrics.accumulator import MetricResult
from onnxslim.validation.output_kinds.recognition import recognize_outputs
from onnxslim.validation.paired_runs import run_batches
from onnxslim.validation.statistics import count_alike_to_prove, samples_to_decide
from onnxslim.verification.check import Check, Verdict
from onnxslim.verification.differing_layers import describe_differing, find_differing_layers

#: How far answers may be from those given here: one in 200 may be another, or what is counted as half a point of top-1.
MAX_DROP = 0.005
#: Samples that are run elsewhere, of which 765 prove that limit where all answer alike, and seconds after which no more are
#: begun: emulation takes some hundred times as long.
MAX_SAMPLES, MAX_SECONDS = 1000, 120.0
_MAX_NAMED = 3
#: Outputs nearer than a thousandth are as good as the same, on however few samples, where no layer can saturate on others.
_ALIKE_DB = 60.0


def parse_processors(names: Sequence[str], config: SessionConfig) -> tuple[str, ...]:
    """``names`` without repeats, for a candidate that runs as ``config`` says.

    Raises:
        UsageError: One is unknown, or ``config`` is of another provider than the CPU's.
    """
    if names and not config.is_cpu:
        raise UsageError(f"--cpus compares kernels of the CPU provider, not of {config.provider}", hint="drop --provider")
    for name in names:
        if name not in PROCESSORS:
            told = "; ".join(f"{known}: {processor.description}" for known, processor in PROCESSORS.items())
            raise UsageError(f"--cpus {name}: unknown", hint=told)
    return tuple(dict.fromkeys(names))


def check_processors(
    model: ir.Model,
    samples: Samples,
    names: Sequence[str],
    config: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> list[Check]:
    """Whether ``model`` answers on each processor as it does here.

    Args:
        model: The candidate.
        samples: The data; labels are not read.
        names: Keys of :data:`~onnxslim.runtime.emulation.processor_table.PROCESSORS`.
        config: How sessions run, on the CPU provider.
        seed: Of the samples that are drawn.
        progress: Told how far it is.

    Returns:
        A check of each processor. It passes where the interval of what is lost lies below the limit; or where the outputs
        differ by a thousandth at most and no layer's products can saturate there, which is no matter of how many samples.
        Of few others nobody can tell, nor of a processor that this machine neither is nor can be made to behave as, or that
        takes no such model.
    """
    if not names:
        return []
    layers = find_saturating_layers(model)
    if len(samples) > MAX_SAMPLES and samples.sequences is None:
        samples = samples.take(draw_samples(samples, MAX_SAMPLES, seed))
    checks = list[Check]()
    for name in names:
        processor = PROCESSORS[name]
        named = describe_layers(layers, name)
        if processor.is_here():
            checks.append(Check(f"answers on {name}", "pass", f"this machine is {processor.description}"))
            continue
        try:
            interpreter = find_interpreter(processor)
        except UnsupportedError as error:
            checks.append(_make_unasked(name, error, named))
            continue
        try:
            with EmulatedSession(model, config, interpreter, f"on {name}") as session:
                found = _compare(model, session, samples, config, progress)
        except HandOverError as error:  # says nothing of the processor
            checks.append(_make_unasked(name, error, named))
        except (InvalidModelError, UnsupportedError) as error:
            checks.append(Check(f"answers on {name}", "fail", f"does not run there: {error.message}"))
        else:
            check = _judge(name, found, named)
            if check.verdict != "pass":
                differing = find_differing_layers(model, next(iter(samples.batches(1))), config, interpreter, f"on {name}")
                check = replace(check, message="; ".join(filter(None, (check.message, describe_differing(differing)))))
            checks.append(check)
    return checks


def _make_unasked(name: str, error: UnsupportedError, named: str) -> Check:
    hint = f" ({error.hint})" if error.hint else ""
    said = f"{PROCESSORS[name].description}: expected, not verified here: {error.message}{hint}"
    return Check(f"answers on {name}", "cannot tell", said + (f"; {named}" if named else ""))


def describe_layers(layers: Sequence[SaturatingLayer], processor: str) -> str:
    """Which layers can go wrong on ``processor``, in a clause; empty where none can."""
    if processor == "armv8":
        layers = [layer for layer in layers if layer.wraps_on_arm]
        what = "wrap around without a dot product"
    elif processor == "avx2":
        what = "saturate without VNNI"
    else:
        return ""
    if not layers:
        return ""
    more = "" if len(layers) <= _MAX_NAMED else f" and {len(layers) - _MAX_NAMED} more"
    names = ", ".join(map(str, layers[:_MAX_NAMED]))
    return f"layers whose products can {what}: {names}{more}; quantize --target portable writes none"


def _compare(
    model: ir.Model, there: EmulatedSession, samples: Samples, config: SessionConfig, progress: Progress
) -> Evaluation:
    """The answers there, held against those here, sample by sample until the time is up."""
    kinds = recognize_outputs(model, samples, config=config)
    here = StatefulSession(Session(model, config), samples.state)
    results = {"there": StatefulSession(there, samples.state)}
    deadline = time.monotonic() + MAX_SECONDS
    accumulator: EvaluationAccumulator | None = None
    for indices, original, outputs in run_batches(samples, here, results, samples.fixed_batch or 1):
        accumulator = accumulator or EvaluationAccumulator(kinds, outputs["there"], original, None)
        accumulator.add(outputs["there"], original, None, len(indices))
        progress("emulate", indices.stop, len(samples))
        if time.monotonic() > deadline:
            break
    if accumulator is None:
        raise InvalidDataError(f"{samples.source}: no samples to compare on")
    return accumulator.compute(None, random=True)


def _find_told(found: Evaluation, gating: MetricResult) -> MetricResult:
    """What tells best whether the output of ``gating`` answers alike: the agreement, where its kind has one."""
    of_output = (one for one in found.metrics if one.output == gating.output)
    return next((one for one in of_output if one.name == "agreement"), gating)


def _get_limit(metric: MetricResult) -> float:
    return MAX_DROP if metric.name == "agreement" else metric.get_own_limit(MAX_DROP)


def _count_limits(metric: MetricResult) -> float:
    """How many times its limit ``metric`` lost; what has no drop cannot be told from a loss of everything."""
    drop = metric.drop
    return math.inf if drop is None or math.isnan(drop) else drop / _get_limit(metric)


def _judge(name: str, found: Evaluation, named: str) -> Check:
    metric = max((_find_told(found, one) for one in found.gating), key=_count_limits)
    several = len({one.output for one in found.gating}) > 1
    limit, text = _get_limit(metric), metric.format_value
    worst = min((f.sqnr_db for f in found.outputs.values() if not math.isnan(f.sqnr_db)), default=math.nan)
    subject = metric.describe_subject() if several else metric.name
    told = f"{subject} {text(metric.result)} with the answers here on {metric.n} sample{'s' * (metric.n != 1)}"
    told += f", {worst:.1f} dB" if math.isfinite(worst) else ""
    verdict: Verdict = "pass"
    drop, interval = metric.drop, metric.interval
    if drop is None or not drop <= limit + 1e-9:
        is_proven = drop is None or interval is None or not interval[0] <= limit
        verdict = "fail" if is_proven else "cannot tell"
        told += f"; at most {text(limit)} less is allowed" + (f"; {named}" if named else "")
    elif not named and worst >= _ALIKE_DB:
        told += "; the outputs differ by a thousandth at most"
    elif interval is None or metric.n < 2 or not interval[1] <= limit + 1e-9:
        verdict = "cannot tell"
        proven = "nothing" if interval is None or metric.n < 2 else f"that no more than {text(interval[1])} are lost"
        told += f"; that proves {proven}, and at most {text(limit)} is allowed{_describe_need(metric, limit)}"
        told += f"; {named}" if named else ""
    return Check(f"answers on {name}", verdict, told, drop, interval, limit)


def _describe_need(metric: MetricResult, limit: float) -> str:
    """How many samples would prove that ``metric`` loses no more than ``limit``, in a clause; empty where nothing tells."""
    if metric.drop == 0 and metric.name == "agreement":
        return f": {count_alike_to_prove(limit)} samples that all answer alike prove it"
    needed = None if metric.interval is None else samples_to_decide(metric.drop or 0.0, metric.interval, metric.n, limit)
    return "" if needed is None else f": about {needed} samples would decide"
