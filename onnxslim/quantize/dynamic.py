"""The dynamic way: int8 linear layers whose inputs are quantised as they come; what transformers want.

A transformer's activations have ranges that change from input to input and a few channels far larger than the rest, so
ranges fixed by calibration cost accuracy; LayerNormalization, Gelu and Softmax run in float whatever is done, so fixed
ranges save no conversions either. The data are used to smooth outliers into the weights (``smooth.py``), to tell what
each layer costs (``noise.py``), and to see whether all that is faster here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.progress import Progress
from onnxslim.quantize import fused, measure
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.integer import Written, write_dynamic
from onnxslim.quantize.linear import Weight, same_in, weights
from onnxslim.quantize.noise import matrix, noise, observe
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.prepare import nothing, target_named
from onnxslim.quantize.residual import write_sums
from onnxslim.quantize.smooth import Smoothing, smooth, smoothings
from onnxslim.runtime.session import SessionConfig

#: Samples that activations are looked at on, that choices are judged on, and that times are measured on.
OBSERVED, JUDGED, TIMED = 64, 32, 4
#: The error of the outputs that smoothing must get below, relative to doing without, to be kept.
BETTER = 0.95
#: Gains in dB from which on activations are smoothed, each tried on the outputs: a layer's own error is a poor judge of
#: what its neighbours make of it, and the smallest gains do the most harm.
LEAST = (0.0, 4.0, 6.0)


def quantise_dynamic(
    model: ir.Model,
    samples: Samples,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """``model`` (prepared) with its linear layers in dynamic int8; :func:`onnxslim.quantize.quantize` says the rest."""
    target, feeds = target_named(options.target), Feeds(samples)
    left = tuple(options.float_units or ())
    found = _weights(model, account, options.exclude, left)
    if not any(weight.linears for weight in found):
        raise nothing(model, "MatMul or Gemm with float32 weights of any size")
    linears = [linear for weight in found for linear in weight.linears]
    few = feeds.first(OBSERVED)
    progress("looking at activations", 0, 3)
    seen = observe(model, linears, few, config)
    alone = {
        one.name: noise(seen[str(one.activation.name)], matrix(one)) for one in linears if str(one.activation.name) in seen
    }
    progress("writing", 1, 3)
    narrow = target.saturating_pairs
    result = io.clone(model)
    written = write_dynamic(result, same_in(result, found), narrow=narrow)
    able = smoothings(found, seen)
    if able:
        yardstick = Yardstick(model, feeds.last(JUDGED), config)
        best = plain = yardstick.error(result)
        tried: list[tuple[Smoothing, ...]] = []
        errors = {"nothing": plain}
        for least in LEAST:
            chosen = tuple(one for one in able if one.gain_db >= least)
            if not chosen or chosen in tried:
                continue
            tried.append(chosen)
            smoothed = io.clone(model)
            smooth(smoothed, same_in(smoothed, found), chosen)
            rewritten = write_dynamic(smoothed, same_in(smoothed, found), narrow=narrow)
            error = errors[f"{len(chosen)} activations"] = yardstick.error(smoothed)
            if error < min(best, BETTER * plain):
                best, result, written = error, smoothed, rewritten
                account.details["smooth"] = [one.as_json() for one in chosen]
        account.details["smoothing"] = {name: float(f"{error:.4g}") for name, error in errors.items()}
        account.count("smoothed activations", len(account.details.get("smooth", ())))
    account.count("residual sums kept apart from LayerNormalization", write_sums(result))
    progress("timing", 2, 3)
    if options.placement == "measured":
        _time(account, model, result, feeds, config)
    _summarise(account, result, written, alone, left, options, config)
    return result


def _weights(model: ir.Model, account: Account, exclude: Sequence[str], left: Sequence[str]) -> list[Weight]:
    found = weights(model, account, exclude)
    kept = [weight for weight in found if not set(weight.names) & set(left)]
    for weight in found:
        for name in weight.names if weight not in kept else ():
            account.decline(name, "it went back to float for accuracy")
    return kept


def _time(account: Account, model: ir.Model, result: ir.Model, feeds: Feeds, config: SessionConfig) -> None:
    best, seconds = measure.fastest({"float": model, "dynamic": result}, feeds.first(TIMED), config)
    account.details["candidates"] = {name: round(value * 1e3, 4) for name, value in seconds.items()}
    if best == "float":
        account.warnings.append(
            f"dynamic int8 is not faster than float on this machine: {seconds['dynamic'] * 1e3:.3g} ms "
            f"against {seconds['float'] * 1e3:.3g} ms"
        )


def _summarise(
    account: Account,
    result: ir.Model,
    written: Sequence[Written],
    alone: Mapping[str, float],
    left: Sequence[str],
    options: QuantizeOptions,
    config: SessionConfig,
) -> None:
    ops, kernels = fused.read_back(result, config)
    layers = []
    for one in written:
        if one.op == "Gather":
            account.count("embedding tables in int8")
            continue
        layers.append(fused.layer_behind(one.name, one.op, [op for name in one.codes for op in kernels.get(name, ())]))
    account.count("layers in int8", sum(layer.kernel == "int8" for layer in layers))
    account.count("layers in float", sum(layer.kernel != "int8" for layer in layers))
    for layer in layers:
        if layer.why is not None:
            account.decline(layer.name, layer.why)
    account.details["layers"] = [
        {**vars(layer), "sqnr_db": round(-10 * math.log10(alone[layer.name]), 2) if alone.get(layer.name) else None}
        for layer in layers
    ]
    account.details["placement"] = {
        "how": "recorded" if options.float_units is not None else options.placement, "float": sorted(left)
    }  # fmt: skip
    account.details["runtime_ops"] = dict(ops.most_common())
