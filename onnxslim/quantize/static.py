"""The static way: ranges of activations known from data, int8 in QDQ form, placed where the runtime gains by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.progress import Progress
from onnxslim.quantize import calibrate, encode, measure, placement, ranges
from onnxslim.quantize import correct as correcting
from onnxslim.quantize.correct import correct
from onnxslim.quantize.equalize import equalize, streams
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, write_qdq
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import Plan, Unit, make_plan, units
from onnxslim.quantize.prepare import target_named
from onnxslim.quantize.simulate import Simulation
from onnxslim.quantize.statistics import Statistics
from onnxslim.quantize.summary import summarise
from onnxslim.quantize.targets import Target
from onnxslim.runtime.memory import give_back
from onnxslim.runtime.session import SessionConfig

#: Samples that channels are equalised on, that times are measured on, that ranges and that results are judged on.
EQUALIZED, TIMED, SIMULATED, JUDGED = 32, 8, 12, 32
#: Relative squared output error (60 dB) up to which an equalised float model counts as the same.
EXACT = 1e-6


def quantise_static(
    model: ir.Model,
    samples: Samples,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """``model`` (prepared) in static int8; :func:`onnxslim.quantize.quantize` says the rest."""
    target, methods = target_named(options.target), ranges.methods(options.calibration)
    with account.part("preparing"):
        feeds = Feeds(samples)
        yardstick = Yardstick(model, feeds.last(JUDGED), config)
    with account.part("equalisation"):
        work = _equalized(model, target, feeds, yardstick, config, account)
        give_back()
    found = units(work, target, options.exclude)
    able = everything(found)
    if not any(unit.weighted for unit in found if unit.name in able):
        raise UnsupportedError("nothing to quantise: no Conv, Gemm or MatMul with float32 weights can run in int8")
    widest = make_plan(found, able)
    with account.part("statistics"):
        statistics = calibrate.statistics(work, feeds, list(widest.tensors), config, progress, len(feeds))
        give_back()
    with account.part("ranges"):
        few = yardstick.last(SIMULATED)
        choices = _choices(work, widest, statistics, methods, target, few, config, account)
    with account.part("placement"):
        int8 = _decide(work, found, able, choices, feeds, options, config, account)
    chosen = make_plan(found, int8)
    with account.part("mending"):
        result = _mended(work, chosen, choices, feeds, yardstick, config, account, progress)
    with account.part("reading back"):
        summarise(account, result, found, chosen, config, options)
    return result


def _equalized(
    model: ir.Model, target: Target, feeds: Feeds, yardstick: Yardstick, config: SessionConfig, account: Account
) -> ir.Model:
    """A copy whose channels are evened out, as far as that stays exact on samples it was not fitted to."""
    quantised = make_plan(found := units(model, target), everything(found)).tensors
    names = [name for stream in streams(model) for name in stream.tensors if name in quantised]
    known = calibrate.channels(model, feeds.first(EQUALIZED), names, config) if names else {}
    copy = io.clone(model)
    changed = equalize(copy, known)
    error = yardstick.error(copy) if changed else 0.0
    if error > EXACT:
        account.decline("equalisation behind Clip", f"it would bite on other samples (output error {error:.2g})")
        copy = io.clone(model)
        # without a Clip on the way every op between the layers is homogeneous, whatever the data
        changed = equalize(copy, known, clips=False)
    account.count("equalised streams", len(changed))
    return copy


def _choices(
    model: ir.Model,
    widest: Plan,
    statistics: Statistics,
    methods: Mapping[str, ranges.Method],
    target: Target,
    yardstick: Yardstick,
    config: SessionConfig,
    account: Account,
) -> Choices:
    """Encodings of every tensor, by the method with which the model's outputs move least."""
    found = {name: _encodings(widest, statistics, method, target, account) for name, method in methods.items()}
    errors = {}
    if len(found) > 1:
        first = next(iter(found.values()))
        simulation = Simulation(model, widest, first, target.saturating_pairs, yardstick, config)
        errors = {name: simulation.error(encodings) for name, encodings in found.items()}
        account.details["ranges"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
    best = min(found, key=lambda name: errors.get(name, 0.0))
    account.details["calibration"] = best
    return Choices(found[best], narrow=target.saturating_pairs)


def _encodings(
    widest: Plan, statistics: Statistics, method: ranges.Method, target: Target, account: Account
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
    feeds: Feeds,
    yardstick: Yardstick,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """The quantised model with mended weights and biases, unless that moves the outputs further."""
    own, layers = correct(model, chosen, choices, feeds.first(correcting.SAMPLES), config, progress=progress)
    models = {"as rounded": _written(model, chosen, choices), "mended": _written(model, chosen, own)}
    errors = {way: yardstick.error(quantised) for way, quantised in models.items()}
    best = min(errors, key=errors.__getitem__)
    account.details["mended"] = {"way": best, "errors": {way: float(f"{error:.4g}") for way, error in errors.items()}}
    account.details["layer_errors"] = {layer.name: layer.error for layer in layers}
    if best == "mended":
        account.count("mended layers", len(layers))
        account.count("layers rounded with error feedback", sum(layer.fed_back for layer in layers))
    else:
        account.decline("weights and biases", "the outputs would move further with them mended")
    return models[best]


def _decide(
    model: ir.Model,
    found: Sequence[Unit],
    able: frozenset[str],
    choices: Choices,
    feeds: Feeds,
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
