"""Sensitivity: what the outputs lose when one layer alone is quantised, or loses channels; the rest stays as it is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.data.samples import Samples
from onnxslim.errors import OnnxslimError, UnsupportedError, UsageError
from onnxslim.graph import opset, shapes
from onnxslim.graph.cost import NodeCost, cost
from onnxslim.progress import Progress, silent
from onnxslim.prune import prune
from onnxslim.prune.options import PruneOptions
from onnxslim.quantize import calibrate, encode
from onnxslim.quantize.fidelity import Yardstick
from onnxslim.quantize.insert import Choices, write_qdq
from onnxslim.quantize.placement import everything
from onnxslim.quantize.plan import make_plan, name_nodes, units
from onnxslim.quantize.recognise import quantised
from onnxslim.quantize.targets import TARGETS, Target
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplify import simplify

#: Samples that ranges are taken from, and that outputs are compared on; and the opset of per-channel weights.
_CALIBRATED, _JUDGED, _OPSET = 64, 32, 13


@dataclass(frozen=True)
class Int8:
    """One layer alone in int8, ranges by min-max, weights per channel.

    Attributes:
        node: Its name.
        op: Its op type.
        params: Its parameters.
        macs: Its multiply-accumulates at batch 1.
        sqnr_db: Of the model's outputs against the float model's; infinite where they are equal.
    """

    node: str
    op: str
    params: int
    macs: int
    sqnr_db: float


@dataclass(frozen=True)
class Channels:
    """One family of channels that go together.

    Attributes:
        node: The layer that makes it.
        units: How many there are.
        levels: (units gone, SQNR of the outputs in dB with the layers behind repaired), gentlest first.
    """

    node: str
    units: int
    levels: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Sensitivity:
    """What :func:`sensitivity` found; the worst comes first.

    Attributes:
        int8: One entry a layer.
        channels: One entry a family.
        samples: How many samples the outputs of the int8 models were compared on.
        warnings: One line each.
    """

    int8: list[Int8]
    channels: list[Channels]
    samples: int
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Additions to the contract."""
        levels = [
            {"node": c.node, "units": c.units, "levels": [{"gone": n, "sqnr_db": db} for n, db in c.levels]}
            for c in self.channels
        ]
        return {
            "sensitivity": {
                "int8": [dict(vars(one)) for one in self.int8],
                "channels": levels,
                "n": self.samples,
            }
        }


def sensitivity(
    model: io.ModelLike,
    samples: Samples,
    *,
    target: str = "cpu",
    config: SessionConfig | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Sensitivity:
    """Rank the layers of ``model`` by what their compression alone does to its outputs.

    Args:
        model: A float model; it is simplified first, as it would be before either step.
        samples: What it is run on; no labels are read.
        target: Whose int8 rules decide which layers there are (:data:`~onnxslim.quantize.targets.TARGETS`).
        config: Where it runs.
        dims: Sizes of free dimensions, for the multiply-accumulates.
        seed: Of every draw.
        progress: Told about every layer.

    Raises:
        UnsupportedError: The model is quantised already.
        UsageError: No such target.
    """
    if target not in TARGETS:
        raise UsageError(f"--target {target}: unknown", hint=f"one of {', '.join(TARGETS)}")
    folded, _ = simplify(model)
    if (kind := quantised(folded)) is not None:
        raise UnsupportedError(f"the model is quantised already: {kind}", hint="look at the float model it came from")
    config = config or SessionConfig()
    feeds = list(itertools.islice(samples.batches(1), _CALIBRATED))
    warnings: list[str] = []
    alone = _alone(folded, feeds, TARGETS[target], cost(folded, dims).nodes, config, progress)
    families = _families(folded, samples, config, seed, warnings, progress)
    return Sensitivity(alone, families, min(len(feeds), _JUDGED), warnings)


def _alone(
    model: ir.Model,
    feeds: Sequence[Mapping[str, np.ndarray]],
    target: Target,
    costs: Mapping[str, NodeCost],
    config: SessionConfig,
    progress: Progress,
) -> list[Int8]:
    work, _ = opset.at_least(model, _OPSET)
    shapes.infer(work)
    name_nodes(work)
    found = units(work, target)
    able = everything(found)
    widest = make_plan(found, able)
    seen = calibrate.statistics(work, feeds, list(widest.tensors), config)
    symmetric = target.activation_symmetric
    ranges = {name: (seen.low[name], seen.high[name]) for name in widest.tensors}
    encodings = {name: encode.activation(*ends, symmetric=symmetric) for name, ends in ranges.items()}
    yardstick = Yardstick(work, feeds[:_JUDGED], config)
    layers = [unit for unit in found if unit.weighted and unit.name in able]
    result = []
    for done, unit in enumerate(layers, start=1):
        copy = io.clone(work)
        write_qdq(copy, make_plan(found, {unit.name}).on(copy), Choices(encodings, narrow=target.saturating_pairs))
        own = costs.get(unit.name, NodeCost(0, 0))
        result.append(Int8(unit.name, unit.op, own.params, own.macs, _decibels(yardstick.error(copy))))
        progress("int8", done, len(layers))
    return sorted(result, key=lambda one: one.sqnr_db)


def _families(
    model: ir.Model,
    samples: Samples,
    config: SessionConfig,
    seed: int,
    warnings: list[str],
    progress: Progress,
) -> list[Channels]:
    """The effects that the prune step measures before it chooses; what it then chooses is not looked at."""
    try:
        _, account = prune(model, samples, PruneOptions(remove=0.05, seed=seed), config=config, progress=progress)
    except OnnxslimError as error:
        warnings.append(f"channels were not looked at: {error.message}")
        return []
    found = [
        Channels(family["node"], family["units"], tuple((gone, _decibels(e)) for gone, e in family["effects"]))
        for family in account.details["families"][0]
        if family["effects"]
    ]
    return sorted(found, key=lambda one: one.levels[0][1])


def _decibels(error: float) -> float:
    """Noise over signal as SQNR in dB."""
    return math.inf if error == 0 else -10 * math.log10(error)
