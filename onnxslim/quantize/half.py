"""The float16 way: what ``--target cuda`` does instead of int8, and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.data.samples import Samples
from onnxslim.errors import UnsupportedError
from onnxslim.progress import Progress
from onnxslim.quantize import float16
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.float16 import Range
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.prepare import matching
from onnxslim.quantize.targets import TARGETS
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.providers import PROVIDERS
from onnxslim.runtime.session import SessionConfig, available_providers
from onnxslim.runtime.taps import tap

#: Samples that ranges are taken from, and that outputs are compared on.
OBSERVED, JUDGED = 64, 16
#: Relative squared error of the outputs (40 dB) above which single kinds of op are tried in float32.
GOOD = 1e-4
#: Kinds of op that lose most in float16, and that go back together, kind by kind, until the outputs are good.
SENSITIVE = (
    "Softmax", "LogSoftmax", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Div", "ReduceSum", "ReduceMean", "ReduceSumSquare",
    "ReduceL2", "ReduceLogSumExp", "CumSum", "LayerNormalization", "InstanceNormalization", "BatchNormalization", "Erf",
)  # fmt: skip


def quantise_half(
    model: ir.Model,
    samples: Samples | None,
    options: QuantizeOptions,
    config: SessionConfig,
    account: Account,
    progress: Progress,
) -> ir.Model:
    """``model`` (prepared) in float16; with data, ranges and outputs decide what else stays float32."""
    target = TARGETS[options.target]
    account.decline("int8", str(target.why_not))
    feeds = None if samples is None else Feeds(samples)
    seen = {} if feeds is None else _ranges(model, feeds, config)
    progress("float16", 1, 2)
    stay = {str(node.name): why for node, why in float16.kept(model, seen).items()}
    stay.update(dict.fromkeys(matching(model, options.exclude), "it was excluded"))
    result, found = _written(model, stay)
    if not found.changed.get("nodes in float16"):
        raise UnsupportedError("nothing to convert: no node can compute in float16")
    if feeds is None:
        account.warnings.append("no data: only constants and types decided what stays float32; ranges were not looked at")
    else:
        yardstick = Yardstick(model, feeds.last(JUDGED), config)
        result, found, stay = _mended(model, result, found, stay, yardstick, account)
    account.changed.update(found.changed)
    for name, why in stay.items():
        account.decline(name, why)
    if (line := unmeasured(target.provider, config, available_providers())) is not None:
        account.warnings.append(line)
    return result


def unmeasured(provider: str, config: SessionConfig, available: Sequence[str]) -> str | None:
    """Why nothing here says how fast the result is on ``provider``, or None where it runs there.

    Args:
        provider: What the target runs on.
        config: Where this command ran.
        available: The installed onnxruntime's execution providers.
    """
    name = PROVIDERS[provider][0]
    if name not in available:
        return f"the gain on {provider} is expected, not verified here: this onnxruntime has no {name}"
    if config.provider.split(":")[0] != provider:
        return f"the gain on {provider} was not measured: this ran on {config.provider} (--provider {provider} measures it)"
    return None


def _ranges(model: ir.Model, feeds: Feeds, config: SessionConfig) -> dict[str, Range]:
    """The finite extremes of every float tensor; a mask's infinities are infinite in float16 too."""
    floats = [
        str(output.name)
        for node in model.graph
        for output in node.outputs
        if output.dtype == ir.DataType.FLOAT and node.op_type != "Constant" and output.name
    ]

    def extremes(index: int, found: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
        finite = {name: found[name][np.isfinite(found[name])] for name in floats}
        return {name: (float(array.min()), float(array.max())) for name, array in finite.items() if array.size}

    low: dict[str, float] = {}
    high: dict[str, float] = {}
    for sample in run_all(tap(model, floats, only=True), feeds.first(OBSERVED), extremes, config):
        for name, (least, most) in sample.items():
            low[name], high[name] = min(low.get(name, least), least), max(high.get(name, most), most)
    return {name: Range(low[name], high[name]) for name in low}


def _written(model: ir.Model, stay: dict[str, str]) -> tuple[ir.Model, Account]:
    copy, found = io.clone(model), Account("")
    float16.write(copy, {node: stay[str(node.name)] for node in copy.graph if node.name in stay}, found)
    return copy, found


def _mended(
    model: ir.Model, result: ir.Model, found: Account, stay: dict[str, str], yardstick: Yardstick, account: Account
) -> tuple[ir.Model, Account, dict[str, str]]:
    """Put kinds of op back into float32, the most helpful first, until the outputs are good or nothing helps."""
    error = yardstick.error(result)
    kinds = [kind for kind in SENSITIVE if any(node.op_type == kind for node in model.graph)]
    while error > GOOD and kinds:
        tried = {}
        for kind in kinds:
            more = {str(node.name): f"{kind} loses too much in float16" for node in model.graph if node.op_type == kind}
            candidate, changed = _written(model, {**more, **stay})
            tried[kind] = (yardstick.error(candidate), candidate, changed, {**more, **stay})
        best = min(tried, key=lambda kind: tried[kind][0])
        if tried[best][0] > 0.9 * error:
            break
        error, result, found, stay = tried[best]
        kinds.remove(best)
    account.details["float16"] = {"error": float(f"{error:.4g}")}
    return result, found, stay
