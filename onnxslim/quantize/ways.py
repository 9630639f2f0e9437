"""Which way a model is quantised, and why.

=========  ======================================================  =======================================
way        what is int8                                            pays where
=========  ======================================================  =======================================
static     weights and activations, ranges fixed by calibration    Convs, and whatever stands between them
dynamic    linear layers, each input quantised as it comes         transformers
weights    weights only, computed in float or by blocks            memory and download size
float16    nothing; floats of half the size                        the CUDA provider
=========  ======================================================  =======================================

Left to itself (``activations="auto"``), the choice between static and dynamic is made by modelled cost: the static
placement's least total (``placement.py``) against the same model with its linear layers dynamic and everything else
float. Dynamic ranges cannot be wrong, so they win unless fixed ones are clearly cheaper, which they are as soon as
Convs, or the ops between layers, carry a good part of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.graph.constants import constant
from onnxslim.progress import Progress
from onnxslim.quantize import placement
from onnxslim.quantize.dynamic import quantise_dynamic
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.half import quantise_half
from onnxslim.quantize.machine import this_target
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.placement import CONVERT, OVERHEAD, Times
from onnxslim.quantize.plan import Unit, units
from onnxslim.quantize.static import quantise_static
from onnxslim.quantize.targets import TARGETS, Target
from onnxslim.quantize.weightonly import parse, quantise_weights
from onnxslim.runtime.session import SessionConfig

DATA_HINT = (
    "give --data: an .npz of inputs by name, a folder of images with --preprocess, or the word random to try it out; "
    "--weights int8, int4 or codebook:16 needs none"
)
#: A way to quantise: (prepared model, data, options with nothing left to choose, where to run, account, progress).
Way = Callable[[ir.Model, Any, QuantizeOptions, SessionConfig, Account, Progress], ir.Model]
WAYS: dict[str, Way] = {
    "static": quantise_static,
    "dynamic": quantise_dynamic,
    "weights": quantise_weights,
    "float16": quantise_half,
}
#: What may be asked for by ``activations``.
ACTIVATIONS = ("static", "dynamic")

#: Dynamic is chosen up to this ratio of its modelled time to the static one's.
MARGIN = 1.1


def resolved(
    model: ir.Model, samples: Samples | None, options: QuantizeOptions, config: SessionConfig, account: Account
) -> tuple[str, QuantizeOptions]:
    """The way to go, and ``options`` with what was left open decided; ``account`` is told what and why.

    Raises:
        UsageError: An unknown option, options that contradict each other, or no data where they are needed.
    """
    name = this_target(config) if options.target == "auto" else options.target
    if name not in TARGETS:
        raise UsageError(f"--target {name}: unknown", hint=f"one of {', '.join(TARGETS)}")
    if options.activations not in ("auto", *ACTIVATIONS):
        raise UsageError(f"--activations {options.activations}: unknown", hint=f"one of {', '.join(ACTIVATIONS)}")
    target, way = TARGETS[name], options.activations
    why = "asked for"
    if options.weights is not None:
        if way != "auto":
            raise UsageError(f"--weights {options.weights} leaves activations in float", hint=f"drop --activations {way}")
        parse(options.weights)
        way = "weights"
    elif target.why_not is not None:
        if way != "auto":
            raise UsageError(f"--target {name} --activations {way}: {target.why_not}", hint="without --activations: float16")
        way, why = "float16", target.why_not
    elif samples is None:
        raise UsageError("quantize needs data", hint=DATA_HINT)
    elif way == "auto":
        way, why = cheaper(model, target, Feeds(samples).first(1)[0])
    elif way == "dynamic" and target.provider != "cpu":
        raise UsageError(f"--target {name} --activations dynamic: it runs static int8 only", hint="drop --activations")
    if options.linear not in ("int8", "int4"):
        raise UsageError(f"--linear {options.linear}: unknown", hint="int8 or int4")
    if options.linear == "int4" and (way != "static" or target.provider != "cpu"):
        raise UsageError(
            f"--linear int4 goes with static int8 for the CPU provider; here it is {way} for {name}",
            hint="--weights int4 stores the weights of all linear layers in 4 bits",
        )
    account.details["way"] = {"way": way, "target": name, "why": why}
    account.changed["activations"] = {"weights": "left in float", "float16": "in float16"}.get(way, f"quantised, {way}")
    account.decline({"static": "dynamic ranges", "dynamic": "fixed ranges"}.get(way, "int8 activations"), why)
    return way, replace(options, target=name, activations=way if way in ACTIVATIONS else "auto")


def cheaper(model: ir.Model, target: Target, feed: Mapping[str, np.ndarray]) -> tuple[str, str]:
    """``static`` or ``dynamic`` by modelled cost, and the reason in one line.

    Args:
        model: Prepared; not changed.
        target: Whose rows and times apply.
        feed: One sample, for the sizes of free dimensions.
    """
    found = units(model, target)
    times = placement.static_times(model, found, _dims(model, feed))
    linear = [unit for unit in found if unit.weighted and unit.op in ("MatMul", "Gemm")]
    if not linear:
        return "static", "the model has no linear layer with constant weights"
    int8 = placement.place(found, times)
    fixed, moving = static_total(found, int8, times), dynamic_total(found, linear, times)
    both = f"modelled {moving / 1e3:.0f} us against {fixed / 1e3:.0f} us with fixed ranges"
    if moving <= MARGIN * fixed:
        return "dynamic", f"linear layers carry the time and stand between float ops: {both}, and no range can be wrong"
    return "static", f"fixed ranges are cheaper: {both}"


def static_total(found: Sequence[Unit], int8: frozenset[str], times: Times) -> float:
    """Nanoseconds of the model with the units ``int8`` in int8, conversions at the borders included."""
    total = sum(times.int8[unit.name] if unit.name in int8 else times.floats[unit.name] for unit in found)
    makers = {value: unit for unit in found for value in unit.outputs}
    border = {value for value, unit in makers.items() if value.is_graph_output() and unit.name in int8}
    for unit in found:
        own = {value for member in unit.nodes for value in member.outputs}
        for value in (value for member in unit.nodes for value in member.inputs if value is not None):
            maker = makers.get(value)
            made_in_int8 = maker is not None and maker.name in int8
            if constant(value) is None and value not in own and made_in_int8 != (unit.name in int8):
                border.add(value)
    return total + sum(placement.boundary(value, times) for value in border)


def dynamic_total(found: Sequence[Unit], linear: Sequence[Unit], times: Times) -> float:
    """The same with the units ``linear`` dynamic: one conversion for each tensor that they read."""
    names = {unit.name for unit in linear}
    total = sum(times.int8[unit.name] if unit.name in names else times.floats[unit.name] for unit in found)
    entries = {str(unit.inputs[0].name) for unit in linear}
    return total + sum(OVERHEAD + CONVERT * times.elements.get(name, 0.0) for name in entries)


def _dims(model: ir.Model, feed: Mapping[str, np.ndarray]) -> dict[str, int]:
    """What the names of free dimensions stand for in ``feed``."""
    found: dict[str, int] = {}
    for value in shapes.inputs(model):
        if value.name in feed:
            sizes = zip(shapes.dims(value) or (), feed[str(value.name)].shape, strict=False)
            found.update((dim, size) for dim, size in sizes if isinstance(dim, str))
    return found
