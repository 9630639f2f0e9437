"""The quantised model with its weights and biases mended, or as they were rounded where that is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.activations.run_context import RunContext
from onnxslim.quantization.qdq.fusion_groups import QuantizationPlan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq
from onnxslim.quantization.static.image_input import ImageInput, fold_level_ops
from onnxslim.quantization.static.layerwise_correction import LayerCorrection, correct_layers


@dataclass(frozen=True)
class CorrectedModel:
    """A quantised model.

    Attributes:
        is_mended: Whether its weights and biases are mended.
        output_errors: Relative squared error of each output.
        variant_errors: The sum of those as rounded and as mended.
        corrections: What mending did, layer by layer.
        stopped_after: How many layers were mended before the time was up; None where all that could be.
    """

    model: ir.Model
    is_mended: bool
    output_errors: dict[str, float]
    variant_errors: dict[str, float]
    corrections: Sequence[LayerCorrection]
    stopped_after: int | None = None


def build_corrected_model(
    model: ir.Model,
    context: RunContext,
    plan: QuantizationPlan,
    qparams: QuantizationParams,
    feeds: Sequence[Mapping[str, np.ndarray]],
    reference: ReferenceOutputs,
    *,
    image_input: ImageInput | None = None,
    max_layers: int | None = None,
) -> CorrectedModel:
    """``model`` quantised by ``plan``, mended on ``feeds`` unless that moves the outputs further from ``reference``.

    All layers are mended, or the first ``max_layers``, or as many as there is time for.
    """
    mended_qparams, corrections, stopped_after = correct_layers(
        model, plan, qparams, feeds, context.config, progress=context.progress, pacer=context.pace(), max_layers=max_layers
    )
    models = [insert_qdq(model, plan, qparams), insert_qdq(model, plan, mended_qparams)]
    if image_input is not None:
        for quantized in models:
            fold_level_ops(quantized, image_input)
    output_errors = [reference.errors(quantized) for quantized in models]
    rounded_error, mended_error = (sum(errors.values()) for errors in output_errors)
    is_mended = mended_error < rounded_error
    variant_errors = {"as rounded": rounded_error, "mended": mended_error}
    return CorrectedModel(models[is_mended], is_mended, output_errors[is_mended], variant_errors, corrections, stopped_after)
