"""Sensitivity: what is lost when one layer alone is quantised, or loses channels; the rest stays as it is.

Int8 is told layer by layer, of the layer's own output, from one run of the float model with a quantised twin beside every
layer (``static/layer_sensitivity.py``); channels are told by what the model's outputs lose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from onnxslim.activations.output_error import to_decibels
from onnxslim.activations.run_context import RunContext
from onnxslim.core.converter import JSON
from onnxslim.core.errors import OnnxslimError, UnsupportedError
from onnxslim.core.progress import Progress, ignore_progress
from onnxslim.data.samples import Samples
from onnxslim.graph.cost import NodeCost, compute_cost
from onnxslim.graph.quantized import detect_quantization
from onnxslim.graph.stored_weights.unpacking import unpack_weights
from onnxslim.graph.traversal import name_nodes
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.selection.survey import Surveys, survey_candidates
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.static.layer_sensitivity import MAX_SENSITIVITY_SAMPLES, measure_layer_sensitivity
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import get_target
from onnxslim.runtime.load_check import check_survives
from onnxslim.runtime.session import SessionConfig
from onnxslim.simplification.step import simplify


@dataclass(frozen=True)
class Int8Sensitivity:
    """One layer alone in int8, ranges by min-max, weights per channel.

    Attributes:
        node: Its name.
        op: Its op type.
        params: Its parameters.
        macs: Its multiply-accumulates at batch 1.
        sqnr_db: Of the layer's own output, fed with the float model's activations; infinite where it is exact.
    """

    node: str
    op: str
    params: int
    macs: int
    sqnr_db: float


@dataclass(frozen=True)
class ChannelSensitivity:
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
        samples: How many samples the layers' outputs were compared on.
        warnings: One line each.
    """

    int8: list[Int8Sensitivity]
    channels: list[ChannelSensitivity]
    samples: int
    warnings: list[str]

    def as_json(self) -> dict[str, Any]:
        """Additions to the contract."""
        levels = [
            {"node": c.node, "units": c.units, "levels": [{"gone": n, "sqnr_db": db} for n, db in c.levels]}
            for c in self.channels
        ]
        return {"sensitivity": {"int8": JSON.unstructure(self.int8), "channels": levels, "n": self.samples}}


def sensitivity(
    model: model_file.ModelLike,
    samples: Samples,
    *,
    target: str = "cpu",
    config: SessionConfig | None = None,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> Sensitivity:
    """Rank the layers of ``model`` by what their compression alone does to its outputs.

    Args:
        model: A float model; it is simplified first, as it would be before either step.
        samples: What it is run on; no labels are read.
        target: Whose int8 rules decide which layers there are (:data:`~onnxslim.quantization.targets.registry.TARGETS`).
        config: Where it runs.
        dims: Sizes of free dimensions, for the multiply-accumulates.
        seed: Of every draw.
        progress: Told about every layer.

    Raises:
        UnsupportedError: The model is quantised already.
        UsageError: No such target.
    """
    int8_target = get_target(target)
    folded, _ = simplify(model, kept_inputs=samples.input_names)
    unpack_weights(folded, expanded=True)
    if (quantized_by := detect_quantization(folded)) is not None:
        raise UnsupportedError(
            f"the model is quantised already: {quantized_by}", hint="look at the float model it came from"
        )
    config = config or SessionConfig()
    check_survives(folded, config)
    warnings: list[str] = []
    layers = _measure_int8(folded, samples, int8_target, config, dims)
    progress("int8", 1, 1)
    channels = _measure_channels(folded, RunContext(samples, config, progress), seed, warnings)
    return Sensitivity(layers, channels, min(len(CalibrationFeeds(samples)), MAX_SENSITIVITY_SAMPLES), warnings)


def _measure_int8(
    model: ir.Model, samples: Samples, target: Target, config: SessionConfig, dims: Mapping[str, int] | None
) -> list[Int8Sensitivity]:
    """What every layer's int8 twin, fed with what the layer is fed with, makes of its output: one run for all layers."""
    prepared_model = prepare_model(model)[0]
    layer_noise = measure_layer_sensitivity(prepared_model, target, CalibrationFeeds(samples), config)
    costs = compute_cost(prepared_model, dims).nodes
    ops = {node.name: node.op_type for node in prepared_model.graph}
    layers = []
    for name, error in layer_noise.items():
        cost = costs.get(name, NodeCost(0, 0))
        layers.append(Int8Sensitivity(name, ops[name], cost.params, cost.macs, -to_decibels(error)))
    return sorted(layers, key=lambda layer: layer.sqnr_db)


def _measure_channels(model: ir.Model, context: RunContext, seed: int, warnings: list[str]) -> list[ChannelSensitivity]:
    """The effects that the prune step measures before it chooses."""
    name_nodes(model.graph)
    try:
        survey = survey_candidates(model, context, PruneOptions(remove=0.5, seed=seed), Surveys(), has_budget=True)
    except OnnxslimError as error:
        warnings.append(f"channels were not looked at: {error.message}")
        return []
    channels = [
        # so many samples tell three digits of an effect
        ChannelSensitivity(
            curve.group.name, len(curve.group), tuple((n, -to_decibels(float(f"{e:.3g}"))) for n, e in effects)
        )
        for curve, effects in zip(survey.candidates.curves, survey.effects.curves, strict=True)
        if effects
    ]
    return sorted(channels, key=lambda group: group.levels[0][1])
