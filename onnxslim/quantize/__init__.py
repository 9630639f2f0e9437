"""int8 that the runtime really runs: the quantize step."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import opset, shapes
from onnxslim.progress import Progress, silent
from onnxslim.quantize import calibrate, encode, fused, measure, placement, ranges
from onnxslim.quantize import correct as correcting
from onnxslim.quantize.correct import correct
from onnxslim.quantize.equalize import equalize, streams
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, write_qdq
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import Plan, Unit, make_plan, name_nodes, units
from onnxslim.quantize.recognise import quantised
from onnxslim.quantize.targets import TARGETS, Target
from onnxslim.runtime.session import SessionConfig

#: Per-channel DequantizeLinear came with this opset.
_OPSET = 13
_MEMORY = 512 << 20
#: Samples that channels are equalised on, that times are measured on, and that choices are judged on.
EQUALIZED, TIMED, JUDGED = 64, 8, 32
#: Relative squared output error (60 dB) up to which an equalised float model counts as the same.
EXACT = 1e-6


@dataclass(frozen=True)
class QuantizeOptions:
    """What a caller may choose.

    Attributes:
        target: ``cpu``, ``cpu-no-vnni``, ``cuda`` or ``tensorrt``.
        calibration: ``auto``, ``minmax``, ``averaged``, ``percentile[:99.999]``, ``mse`` or ``entropy``.
        placement: ``measured`` decides on this machine which layers gain, ``static`` by a model of the target.
        exclude: Regular expressions; a node whose whole name matches stays float.
        float_units: The decision of an earlier run: these stay float, everything else that can becomes int8.
        max_memory: Bytes that the statistics passes may hold at a time.
    """

    target: str = "cpu"
    calibration: str = "auto"
    placement: str = "measured"
    exclude: tuple[str, ...] = ()
    float_units: tuple[str, ...] | None = None
    max_memory: int = _MEMORY


def quantize(
    model: io.ModelLike,
    samples: Samples,
    options: QuantizeOptions | None = None,
    *,
    config: SessionConfig | None = None,
    progress: Progress = silent,
) -> tuple[ir.Model, Account]:
    """Static int8 in QDQ form, calibrated on ``samples``.

    Args:
        model: A float model, best simplified; it is not changed.
        samples: Calibration data.
        options: See :class:`QuantizeOptions`.
        config: Where calibration and measurements run.
        progress: Told about every sample.

    Returns:
        The quantised model and the account; ``account.details["placement"]`` holds the decision for a recipe.

    Raises:
        UnsupportedError: Already quantised, or the target runs no static int8.
        UsageError: An unknown option, or an ``exclude`` that matches nothing.
        InvalidDataError: NaN or infinity in an activation.
    """
    options, config = options or QuantizeOptions(), config or SessionConfig()
    target, methods = _target(options.target), ranges.methods(options.calibration)
    account = Account("quantize")
    with account.timed():
        work = _prepared(io.load(model), account)
        _check_patterns(work, options.exclude)
        feeds = _Feeds(samples)
        yardstick = Yardstick(work, feeds.last(JUDGED), config)
        work = _equalized(work, feeds, yardstick, config, account)
        found = units(work, target, options.exclude)
        able = everything(found)
        if not any(unit.weighted for unit in found if unit.name in able):
            raise UnsupportedError("nothing to quantise: no Conv, Gemm or MatMul with float32 weights can run in int8")
        widest = make_plan(found, able)
        statistics = _calibrate(work, widest, feeds, options, config, progress)
        choices = _choices(work, widest, statistics, methods, target, yardstick, account)
        int8 = _decide(work, found, able, choices, feeds, options, config, account)
        chosen = make_plan(found, int8)
        result = _mended(work, chosen, choices, feeds, yardstick, config, account, progress)
        _account(account, result, found, chosen, config, options)
    return result, account


class _Feeds:
    """Single samples, streamed as often as asked; a few at either end are kept for measuring and judging."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        yield from self._samples.batches(1)

    def first(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The first ``count`` samples."""
        return list(itertools.islice(self, count))

    def last(self, count: int) -> list[Mapping[str, np.ndarray]]:
        """The last ``count`` samples."""
        return list(itertools.islice(self, max(0, len(self) - count), None))


def _target(name: str) -> Target:
    if name not in TARGETS:
        raise UsageError(f"--target {name}: unknown", hint=f"one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    if target.why_not is not None:
        raise UnsupportedError(
            f"--target {name}: {target.why_not}", hint="`--target cpu` writes int8 for the CPU provider"
        )
    return target


def _prepared(model: ir.Model, account: Account) -> ir.Model:
    kind = quantised(model)
    if kind is not None:
        raise UnsupportedError(f"the model is quantised already: {kind}", hint="quantise the float model it came from")
    model, raised = opset.at_least(model, _OPSET)
    if raised is not None:
        account.warnings.append(f"opset raised from {raised} to {_OPSET}: per-channel weights need it")
    shapes.infer(model)
    name_nodes(model)
    return model


def _check_patterns(model: ir.Model, patterns: Sequence[str]) -> None:
    names = [node.name or "" for node in model.graph]
    for pattern in patterns:
        try:
            matched = any(re.fullmatch(pattern, name) for name in names)
        except re.error as error:
            raise UsageError(f"--exclude {pattern}: not a regular expression ({error})") from None
        if not matched:
            near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.3)
            raise UsageError(f"--exclude {pattern}: matches no node", hint=f"nearest: {', '.join(near) or 'none'}")


def _calibrate(
    model: ir.Model, widest: Plan, feeds: _Feeds, options: QuantizeOptions, config: SessionConfig, progress: Progress
) -> calibrate.Statistics:
    names, total = list(widest.tensors), len(feeds)
    found = calibrate.extremes(model, feeds, names, config, progress, total)
    return calibrate.histograms(model, feeds, found, config, progress, total, options.max_memory)


def _equalized(
    model: ir.Model, feeds: _Feeds, yardstick: Yardstick, config: SessionConfig, account: Account
) -> ir.Model:
    """A copy whose channels are evened out, as far as that stays exact on samples it was not fitted to."""
    found = streams(model)
    names = [name for stream in found for name in stream.tensors]
    known = calibrate.channels(model, feeds.first(EQUALIZED), names, config) if names else {}
    for clips in (True, False):
        copy = io.clone(model)
        changed = equalize(copy, known, clips=clips)
        error = yardstick.error(copy) if changed else 0.0
        if error <= EXACT:
            account.count("equalised streams", len(changed))
            return copy
        account.decline("equalisation behind Clip", f"it would bite on other samples (output error {error:.2g})")
    return model


def _choices(
    model: ir.Model,
    widest: Plan,
    statistics: calibrate.Statistics,
    methods: Mapping[str, ranges.Method],
    target: Target,
    yardstick: Yardstick,
    account: Account,
) -> Choices:
    """Encodings of every tensor, by the method with which the model's outputs move least."""
    found = {name: _encodings(widest, statistics, method, target, account) for name, method in methods.items()}
    errors = {}
    if len(found) > 1:
        for name, encodings in found.items():
            errors[name] = yardstick.error(_written(model, widest, Choices(encodings, weight_bits=target.weight_bits)))
        account.details["ranges"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
    best = min(found, key=lambda name: errors.get(name, 0.0))
    account.details["calibration"] = best
    return Choices(found[best], weight_bits=target.weight_bits)


def _encodings(
    widest: Plan, statistics: calibrate.Statistics, method: ranges.Method, target: Target, account: Account
) -> dict[str, encode.Encoding]:
    encodings: dict[str, encode.Encoding] = {}
    for names in widest.groups().values():
        histogram = statistics.histogram(names)
        if histogram.high <= histogram.low:
            line = f"{names[0]} is constant on the calibration data: any scale is right for it"
            account.warnings += [line] if line not in account.warnings else []
        encoding = encode.activation(*method(histogram), symmetric=target.activation_symmetric)
        encodings.update(dict.fromkeys(names, encoding))
    values = {str(value.name): value for unit in widest.units for value in unit.inputs}
    for name in widest.constants:
        histogram = calibrate.constant_histogram(values[name])
        encodings[name] = encode.activation(histogram.low, histogram.high, symmetric=target.activation_symmetric)
    return encodings


def _mended(
    model: ir.Model,
    chosen: Plan,
    choices: Choices,
    feeds: _Feeds,
    yardstick: Yardstick,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """The quantised model with mended weights and biases, unless that moves the outputs further."""
    plain = _written(model, chosen, choices)
    models, errors = {"as rounded": plain}, {"as rounded": yardstick.error(plain)}
    ways = correct(model, chosen, choices, feeds.first(correcting.SAMPLES), config, progress=progress)
    for way, (mended, _) in ways.items():
        models[way] = _written(model, chosen, mended)
        errors[way] = yardstick.error(models[way])
    best = min(errors, key=errors.__getitem__)
    account.details["mended"] = {"way": best, "errors": {way: float(f"{error:.4g}") for way, error in errors.items()}}
    if best in ways:
        account.count("mended layers", len(ways[best][1]))
    else:
        account.decline("weights and biases", "the outputs would move further with any of them mended")
    layers = ways[best][1] if best in ways else ways["bias"][1]
    account.details["layer_errors"] = {layer.name: layer.after for layer in layers}
    return models[best]


def _decide(
    model: ir.Model,
    found: Sequence[Unit],
    able: frozenset[str],
    choices: Choices,
    feeds: _Feeds,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
) -> frozenset[str]:
    """Which units run in int8; the decision is written down so that a replay needs no clock."""
    if options.float_units is not None:
        return able - frozenset(options.float_units)
    times = placement.static_times(model, found)
    static = placement.place(found, times) & able
    if options.placement == "static":
        return static
    if options.placement != "measured":
        raise UsageError(f"--placement {options.placement}: unknown", hint="measured or static")
    few = feeds.first(TIMED)
    widest = _written(model, make_plan(found, able), choices)
    times = measure.unit_times(model, widest, found, few, config, times)
    measured = placement.place(found, times) & able
    labels = {"everything int8": able, "static": static, "measured": measured}
    distinct = {
        name: int8 for index, (name, int8) in enumerate(labels.items()) if int8 not in list(labels.values())[:index]
    }
    candidates = {
        "float": model,
        **{name: _written(model, make_plan(found, int8), choices) for name, int8 in distinct.items()},
    }
    best, seconds = measure.fastest(candidates, few, config)
    account.details["candidates"] = {name: round(value * 1e3, 4) for name, value in seconds.items()}
    if best == "float":
        account.warnings.append("no int8 placement was faster than float on this machine")
        best = min(distinct, key=seconds.__getitem__)
    return distinct[best]


def _written(model: ir.Model, chosen: Plan, choices: Choices) -> ir.Model:
    """A quantised copy of ``model``; the plan's nodes are found again by name."""
    copy = io.clone(model)
    write_qdq(copy, chosen.on(copy), choices)
    return copy


def _account(
    account: Account,
    result: ir.Model,
    found: Sequence[Unit],
    chosen: Plan,
    config: SessionConfig,
    options: QuantizeOptions,
) -> None:
    ran = fused.fusion(result, found, chosen.int8, config)
    account.count("layers in int8", ran.int8)
    account.count("layers in float", len(ran.layers) - ran.int8)
    account.count("quantised tensors", len(chosen.tensors))
    for layer in ran.layers:
        if layer.why is not None:
            account.decline(layer.name, layer.why)
    able = {unit.name for unit in found if unit.why_float is None}
    account.details["placement"] = {
        "how": "recorded" if options.float_units is not None else options.placement,
        "float": sorted(able - chosen.int8),
    }
    errors = account.details.pop("layer_errors")
    account.details["layers"] = [
        {**vars(layer), "sqnr_db": round(-10 * math.log10(errors[layer.name]), 2) if errors.get(layer.name) else None}
        for layer in ran.layers
    ]
    account.details["runtime_ops"] = ran.ops
