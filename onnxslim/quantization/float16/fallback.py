"""What goes back to float32 because the outputs, or the runtime, ask for it: kinds of op, then single nodes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import observe
from onnxslim.activations.output_error import ReferenceOutputs, energy, is_float, relative_error, squared_error
from onnxslim.core.errors import InvalidModelError, LimitError, UnsupportedError
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.quantization.float16 import float32_nodes
from onnxslim.quantization.float16.conversion import Float16Converter
from onnxslim.quantization.float16.simulation import simulate_float16
from onnxslim.runtime.load_check import loads
from onnxslim.runtime.parallel import FeedIterable
from onnxslim.runtime.session import SessionConfig, make_run_check

#: Relative squared error of the outputs (40 dB) above which ops are tried in float32.
MAX_OUTPUT_ERROR = 1e-4
#: Kinds of op that lose most in float16, and that go back together, kind by kind, until the outputs are good.
SENSITIVE_OPS = (
    "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Div", "ReduceSum", "ReduceMean", "ReduceSumSquare",
    "ReduceL2", "ReduceLogSumExp", "CumSum", "LayerNormalization", "InstanceNormalization", "BatchNormalization", "Erf",
)  # fmt: skip
#: Single nodes that go back at first, the worst; twice as many each time.
_FIRST_NODES = 1
#: Trials of what went back to float32, whether it may be float16 after all.
_MAX_RETRIES = 12
#: Values of a tensor that are compared.
_MAX_VALUES = 4096


@dataclass(frozen=True)
class Conversion:
    """A copy in float16, how many of its nodes became what, and why which stayed in float32 (by name)."""

    model: ir.Model
    counts: Counter[str]
    float32_nodes: Mapping[str, str]


def convert_copy(model: ir.Model, kept: Mapping[str, str]) -> Conversion:
    """A copy of ``model``, all whose nodes have names, in float16 but for those that are named."""
    copy = model_file.clone(model)
    reasons = {node: kept[str(node.name)] for node in walk(copy.graph) if node.name in kept}
    return Conversion(copy, Float16Converter(copy, reasons).run(), kept)


def keep_runnable(
    model: ir.Model,
    conversion: Conversion,
    feed: Mapping[str, np.ndarray] | None,
    config: SessionConfig,
    fits: Callable[[], bool] = lambda: True,
) -> Conversion:
    """``conversion``, or, where the runtime refuses it and not the original, one with the ops in float32 that it has no
    float16 for: the kinds are converted one after the other, and those stay with which it no longer loads or runs, or for
    which there is no time (``fits``, asked before each). So does what cannot be tried for want of room: who writes it tries
    again.

    Args:
        model: What was converted.
        conversion: All of it that may be.
        feed: What both are run with; None where nothing is known that the model runs with.
        config: How sessions run here.
        fits: Whether there is time for one more trial.
    """
    try:
        if _runs(conversion.model, feed, config) or not _runs(model, feed, config):
            return conversion
    except LimitError:
        return conversion
    kinds = sorted({node.op_type for node in walk(model.graph) if node.name not in conversion.float32_nodes})
    refused, tried = list[str](), list[str]()
    for kind in kinds:
        trial = convert_copy(
            model, {**_name_kinds(model, set(kinds).difference(tried, [kind]), ""), **conversion.float32_nodes}
        )
        (tried if fits() and _runs(trial.model, feed, config) else refused).append(kind)
    why = f"the runtime does not {'load' if feed is None else 'load or run'} it in float16"
    return convert_copy(model, {**_name_kinds(model, refused, why), **conversion.float32_nodes})


def _runs(model: ir.Model, feed: Mapping[str, np.ndarray] | None, config: SessionConfig) -> bool:
    """Whether the runtime loads ``model``, and runs it with ``feed``: an op that it computes by its definition in simpler
    ones can load and fail then.
    """
    if not loads(model, config):
        return False
    try:
        return feed is None or make_run_check(model, config)(feed) is None
    except (InvalidModelError, UnsupportedError):  # of what loads only optimised
        return False


def simulate(model: ir.Model, conversion: Conversion) -> ir.Model:
    """``model`` with everything rounded to float16 that is float16 in ``conversion``."""
    copy = model_file.clone(model)
    simulate_float16(copy, {node for node in walk(copy.graph) if node.name in conversion.float32_nodes})
    return copy


def keep_accurate(
    model: ir.Model,
    conversion: Conversion,
    reference: ReferenceOutputs,
    feeds: FeedIterable,
    config: SessionConfig,
    fits: Callable[[], bool] = lambda: True,
) -> tuple[Conversion, float]:
    """``conversion`` with as much more in float32 as the outputs need, and the outputs' error, simulated.

    Kinds of op first, the most helpful one as long as one helps; then single nodes, those that add most to the error. What
    stands between nodes in float32 goes back with them. Where that was enough, some of it is made float16 again, as far as
    the outputs stay good. ``fits`` is asked before each trial whether there is time for it.
    """
    start = conversion
    error = reference.error(simulate(model, conversion))
    kinds = [kind for kind in SENSITIVE_OPS if any(node.op_type == kind for node in walk(model.graph))]
    while not error <= MAX_OUTPUT_ERROR and kinds:
        trials = {}
        for kind in kinds:
            if not fits():
                break
            trial = _return_nodes(model, conversion, _name_kinds(model, [kind], f"{kind} loses too much in float16"))
            trials[kind] = (reference.error(simulate(model, trial)), trial)
        best = min(trials, key=lambda kind: trials[kind][0], default=None)
        if best is None or not trials[best][0] <= 0.9 * error or math.isinf(trials[best][0]):
            break
        error, conversion = trials[best]
        kinds.remove(best)
    if not error <= MAX_OUTPUT_ERROR:
        ranking, before, returned = rank_nodes(model, conversion, feeds, config, fits), conversion, 0
        while not error <= MAX_OUTPUT_ERROR and returned < len(ranking) and fits():
            returned = 2 * returned or _FIRST_NODES
            trial = _return_nodes(model, before, dict.fromkeys(ranking[:returned], "it loses too much in float16"))
            if (trial_error := reference.error(simulate(model, trial))) < error:
                error, conversion = trial_error, trial
    return _retry(model, start, conversion, error, reference, fits)


def _retry(
    model: ir.Model, start: Conversion, conversion: Conversion, error: float, reference: ReferenceOutputs,
    fits: Callable[[], bool],
) -> tuple[Conversion, float]:  # fmt: skip
    """``conversion`` with those nodes in float16 again that went back since ``start`` and that the outputs do not need: one
    went back with all of its kind, though a few of them did the harm. By halves, then quarters, and so on.
    """
    returned = [name for name in conversion.float32_nodes if name not in start.float32_nodes]
    size, trials = (len(returned) + 1) // 2, 0
    while error <= MAX_OUTPUT_ERROR and size and len(returned) > 1:
        for part in [returned[i : i + size] for i in range(0, len(returned), size)]:
            if trials == _MAX_RETRIES or not fits():
                return conversion, error
            trials += 1
            kept = {name: why for name, why in conversion.float32_nodes.items() if name not in part}
            trial = convert_copy(model, kept)
            if (trial_error := reference.error(simulate(model, trial))) <= MAX_OUTPUT_ERROR:
                error, conversion = trial_error, trial
                returned = [name for name in returned if name not in part]
        size //= 2
    return conversion, error


def _name_kinds(model: ir.Model, kinds: Collection[str], why: str) -> dict[str, str]:
    return {str(node.name): why for node in walk(model.graph) if node.op_type in kinds}


def _return_nodes(model: ir.Model, conversion: Conversion, returned: Mapping[str, str]) -> Conversion:
    """``conversion`` with the nodes ``returned`` in float32, by name with the reason, and what stands between such."""
    kept = {**returned, **conversion.float32_nodes}
    nodes = [node for node in walk(model.graph) if float32_nodes.has_floats(node)]
    between = float32_nodes.find_between([node for node in nodes if node.name in kept], nodes)
    return convert_copy(model, {**kept, **{str(node.name): float32_nodes.BETWEEN_REASON for node in between}})


def rank_nodes(
    model: ir.Model,
    conversion: Conversion,
    feeds: FeedIterable,
    config: SessionConfig,
    fits: Callable[[], bool] = lambda: True,
) -> list[str]:
    """The nodes of the main graph that are in float16, those first that make most of the error that they put out; none where
    there is no time to look (``fits``, asked before each of two runs of the data that show every tensor).
    """
    nodes = [node for node in model.graph if node.name not in conversion.float32_nodes and node.op_type != "Constant"]
    outputs = [value for node in nodes for value in node.outputs if value.uses() or value.is_graph_output()]
    names = [str(value.name) for value in outputs if float32_nodes.is_float(value)]
    observed = []
    for variant in (model, simulate(model, conversion)):
        if not fits():
            return []
        observed.append(_observe_values(variant, names, feeds, config))
    wanted, found = observed
    errors = {name: _measure_error(wanted[name], found[name]) for name in wanted}

    def measure_growth(node: ir.Node) -> float:
        before = max((errors.get(str(value.name), 0.0) for value in node.inputs if value is not None), default=0.0)
        after = max((errors.get(str(value.name), 0.0) for value in node.outputs), default=0.0)
        return after - before if math.isfinite(before) else 0.0

    growth = {str(node.name): measure_growth(node) for node in nodes}
    return [name for name in sorted(growth, key=lambda name: -growth[name]) if growth[name] > 0]


def _observe_values(
    model: ir.Model, names: Iterable[str], feeds: FeedIterable, config: SessionConfig
) -> dict[str, list[np.ndarray]]:
    def sample(index: int, name: str, array: np.ndarray) -> np.ndarray:
        if not is_float(array):
            return np.zeros(0, np.float32)
        flat = array.reshape(-1)
        return flat[:: max(1, flat.size // _MAX_VALUES)].astype(np.float32)

    return observe(model, names, feeds, sample, config)


def _measure_error(wanted: Iterable[np.ndarray], found: Iterable[np.ndarray]) -> float:
    pairs = [(a, b) for a, b in zip(wanted, found, strict=True) if a.shape == b.shape]
    return relative_error(sum(squared_error(a, b) for a, b in pairs), sum(energy(a) for a, _ in pairs))
