"""The static way: ranges of activations known from data, int8 in QDQ form, placed where the runtime gains by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError, UsageError
from onnxslim.graph import cost
from onnxslim.progress import Progress
from onnxslim.quantize import calibrate, fewbits, measure, pixels, placement, ranges, shards, tail
from onnxslim.quantize.basis import find as basis_of
from onnxslim.quantize.cautions import cautions
from onnxslim.quantize.choose import Chooser
from onnxslim.quantize.correct import Mended, correct
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, written
from onnxslim.quantize.kept import Files, Keeper
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import Plan, Unit, make_plan, units
from onnxslim.quantize.pools import write_pools
from onnxslim.quantize.prepare import nothing, target_named
from onnxslim.quantize.spare import Reached, allowed, attempts, floor, refusal
from onnxslim.quantize.statistics import Statistics
from onnxslim.quantize.summary import summarise
from onnxslim.runtime.memory import give_back
from onnxslim.runtime.session import SessionConfig
from onnxslim.workers import running

#: Samples that times are measured on.
TIMED = 8
#: Samples that results are judged on, at least and at most: between them what this many multiply-accumulates pay for. A
#: few answers that flip decide what a classifier loses, so that many samples are wanted where they are cheap.
FEWEST, MOST, WORK = 32, 128, 12e9
#: Samples that layers are mended on, likewise.
MENDED, MENDED_MOST, MENDING = 32, 128, 10e9
#: Ranges are compared on one in so many of those, and on so many at most.
EVERY, SIMULATED = 4, 16
#: Inputs of a Concat whose ranges differ by more than this do not share a scale.
UNEVEN = 16.0
#: Int8 that takes so many times as long as float is refused; up to there the clock may be wrong.
SLOWER = 1.03
#: Of the memory that may be used, what watching activations may take beside the model and its own activations.
SHARE = 0.25


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
        account.count("means written as pools", write_pools(model))
        feeds = Feeds(samples)
        macs = max(cost.cost(model).macs, 1)
        judged = int(min(max(WORK / macs, FEWEST), MOST))
        mending = feeds.first(int(min(max(MENDING / macs, MENDED), MENDED_MOST)))
        kept = feeds[-judged:]
        yardstick = Yardstick(model, kept, config)
    with account.part("equalisation"):
        files = Files(options.statistics, model) if options.statistics else None
        basis = None if files is None else files.basis
        if basis is None:
            basis = basis_of(model, target, feeds, yardstick, config, account)
        work = basis.equalised(model, account)
        give_back()
    narrow = fewbits.suited(work, options.exclude) if options.linear == "int4" else []
    if options.linear == "int4" and not narrow:
        account.decline("linear layers in 4 bits", fewbits.NONE)
    found = tail.in_float(work, fewbits.apart(units(work, target, options.exclude), narrow))
    able = everything(found)
    if not any(unit.weighted for unit in found if unit.name in able):
        raise nothing(model, "Conv, Gemm or MatMul with float32 weights can run in int8")
    widest = make_plan(found, able)
    with account.part("statistics"):
        keeper = None if files is None else Keeper(files, list(widest.tensors), feeds.digests(), basis)
        statistics = _statistics(work, widest, feeds, keeper, options, config, account, progress)
    found = [_uneven(unit, statistics, account) for unit in found]
    able = everything(found)
    widest = make_plan(found, able)
    with account.part("ranges"):
        few = Yardstick(work, kept[:: max(EVERY, len(kept) // SIMULATED)], config)
        chooser = Chooser(work, widest, statistics, methods, target, few, config)
        account.warnings += cautions(widest, statistics)
        errors = chooser.errors()
        account.details["ranges"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        best = min(methods, key=lambda name: errors.get(name, 0.0))
        give_back()
    lost: dict[str, float] = {}
    reached: list[Reached] = []
    for spared, method in attempts(chooser, found, able, best, reached, options, account):
        if not any(unit.weighted for unit in found if unit.name in able - spared):
            break
        with account.part("placement"):
            choices = chooser.choices(method)
            int8 = _decide(work, found, able - spared, choices, feeds, options, config, account)
            give_back()
        with account.part("mending"):
            source, members = work, found
            seen = None if target.activation_symmetric else pixels.find(work, feeds, int8)
            if seen is not None:
                account.changed["input quantised on its own 256 levels"] = seen.source
                source = pixels.spread(work, seen)
                members = fewbits.apart(pixels.in_float(units(source, target, options.exclude), seen), narrow)
                choices = replace(choices, encodings={**choices.encodings, seen.levels: seen.encoding})
            chosen = make_plan(members, int8)
            result, lost, layers = _mended(source, chosen, choices, mending, yardstick, config, account, progress, seen)
        if narrow:
            with account.part("4-bit layers"):
                fewbits.write(result, narrow, feeds, config, account)
                lost = yardstick.errors(result)
        lost = yardstick.whole(lost)
        reached.append(Reached(int8, max(lost.values(), default=0.0)))
        if options.float_units is not None or reached[-1].error <= allowed(options):
            account.details["calibration"] = method
            if method == "least":
                account.details["methods"] = chooser.by_tensor()
            with account.part("reading back"):
                summarise(account, result, members, chosen, config, options, layers)
            return result
    raise refusal(lost, options)


def _statistics(
    model: ir.Model,
    widest: Plan,
    feeds: Feeds,
    keeper: Keeper | None,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> Statistics:
    """The statistics of everything that may be quantised, as far as ``keeper`` does not know them already."""
    memory = None if options.max_memory is None else int(SHARE * options.max_memory)

    def taken(left: Feeds) -> Statistics:
        names = list(widest.tensors)
        if keeper is None and (workers := running()).elsewhere:
            return shards.statistics(model, left, names, config, memory, workers)
        return calibrate.statistics(model, left, names, config, progress, len(feeds), keeper=keeper, memory=memory)

    if keeper is None:
        return taken(feeds)
    account.count("samples whose statistics were known", len(feeds) - len(keeper.left) + keeper.added)
    return keeper.whole(taken(feeds[keeper.left]) if len(keeper.left) else keeper.start)


def _uneven(unit: Unit, statistics: Statistics, account: Account) -> Unit:
    """``unit``, in float if it is a Concat whose one scale would leave one of its inputs next to nothing.

    Boxes in pixels beside scores from 0 to 1, as detectors put them out: the model's error hardly shows it, since the
    boxes are nearly all of its energy, and every score is gone.
    """
    known = [name for value in unit.inputs if (name := str(value.name)) in statistics.low]
    spans = {name: span for name in known if (span := statistics.high[name] - statistics.low[name]) > 0}
    if unit.op != "Concat" or unit.why_float is not None or not spans:
        return unit
    whole = max(statistics.high[name] for name in spans) - min(statistics.low[name] for name in spans)
    narrow = min(spans, key=spans.__getitem__)
    if spans[narrow] * UNEVEN >= whole:
        return unit
    why = f"one scale for all its inputs would leave {narrow} less than 4 of 8 bits"
    account.decline(unit.name, why)
    return replace(unit, why_float=why)


def _mended(
    model: ir.Model,
    chosen: Plan,
    choices: Choices,
    feeds: Sequence[Mapping[str, np.ndarray]],
    yardstick: Yardstick,
    config: SessionConfig,
    account: Account,
    progress: Progress,
    seen: pixels.Pixels | None = None,
) -> tuple[ir.Model, dict[str, float], list[Mended]]:
    """The quantised model, mended unless that moves the outputs further; what each output lost; what each layer does."""
    own, layers = correct(model, chosen, choices, feeds, config, progress=progress)
    models = {"as rounded": written(model, chosen, choices), "mended": written(model, chosen, own)}
    if seen is not None:
        for quantised in models.values():
            pixels.fold(quantised, seen)
    lost = {way: yardstick.errors(quantised) for way, quantised in models.items()}
    errors = {way: sum(found.values()) for way, found in lost.items()}
    best = min(errors, key=errors.__getitem__)
    account.details["mended"] = {"way": best, "errors": {way: float(f"{error:.4g}") for way, error in errors.items()}}
    return models[best], lost[best], layers


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
        if not any(unit.weighted for unit in found if unit.name in static):
            account.warnings.append("by the target's cost model int8 gains nothing here; everything that can be is int8")
            return able
        return static
    if options.placement != "measured":
        raise UsageError(f"--placement {options.placement}: unknown", hint="measured or static")
    few = feeds.first(TIMED)
    widest = written(model, make_plan(found, able), choices)
    times = measure.unit_times(model, widest, found, few, config, times)
    measured = placement.place(found, times) & able
    labels = {"everything int8": able, "static": static, "measured": measured}
    # the fewest int8 ops first, since a tie keeps the earlier: an op that gains no time need not lose anything
    weighted = {unit.name for unit in found if unit.weighted}
    sets = {int8: name for name, int8 in labels.items() if int8 & weighted}
    distinct = {name: int8 for int8, name in sorted(sets.items(), key=lambda pair: len(pair[0]))}
    candidates = {
        "float": model,
        **{name: written(model, make_plan(found, int8), choices) for name, int8 in distinct.items()},
    }
    best, seconds = measure.fastest(candidates, few, config)
    account.details["candidates"] = {name: round(value * 1e3, 4) for name, value in seconds.items()}
    if best == "float":
        best = min(distinct, key=seconds.__getitem__)
        taken = f"float {seconds['float'] * 1e3:.3g} ms, the best int8 {seconds[best] * 1e3:.3g} ms"
        if seconds[best] > SLOWER * seconds["float"]:
            spared, hint = "", "--weights int8 makes the file smaller; --placement static writes int8 all the same"
            if len(able) < len(everything(found)):
                spared = f", once the ops that take an output below {floor(options):g} dB of SQNR are in float"
                hint = f"--min-sqnr accepts less; {hint}"
            raise UnsupportedError(f"no int8 placement is faster than float on this machine{spared}: {taken}", hint=hint)
        account.warnings.append(f"no int8 placement was reliably faster than float on this machine: {taken}")
    return distinct[best]
