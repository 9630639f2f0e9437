"""Weights of layers that stay in float, stored in int8: a file does not grow by what goes back to float.

Codes with a scale for each output are expanded when the model is loaded, by a Cast and a Mul of constants that the runtime
folds: that costs no time, and the layer computes in float as before. Where nothing else is asked for it is done for all
layers that stay in float, as long as the outputs bear it and the file is the smaller for it by a share that is worth it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.weight_only.expanded import write_expanded_weights
from onnxslim.quantization.weight_only.weights import exclude_layers
from onnxslim.simplification.file_size import measure_bytes

#: The share of the file's bytes that int8 must save to be tried unasked.
MIN_SAVED_SHARE = 0.03
#: Unasked, relative squared errors may grow by this factor, or up to this share of what an output may lose.
MAX_ERROR_GROWTH, MAX_ERROR_SHARE = 1.25, 0.25


@dataclass(frozen=True)
class Variant:
    """A quantised model and how it stores the weights of what stays float.

    Attributes:
        float_weights: ``int8``, ``float16`` or ``float32``; None where there is nothing to choose.
        model: It.
        output_errors: Relative squared error of each output.
    """

    float_weights: str | None
    model: ir.Model
    output_errors: dict[str, float]

    @property
    def worst_error(self) -> float:
        """That of the output that loses most."""
        return max(self.output_errors.values(), default=0.0)


def make_variants(
    model: ir.Model,
    reference: ReferenceOutputs,
    output_errors: Mapping[str, float],
    target: Target,
    options: QuantizeOptions,
) -> list[Variant]:
    """``model`` as ``options.float_weights`` asks for it: one variant, or both, the smaller first.

    Args:
        model: Quantised in part; not changed.
        reference: The float model's outputs.
        output_errors: What ``model`` loses, outputs that are joined from parts by part.
        target: What it is quantised for.
        options: Also say what is excluded, and which layers keep larger weights.
    """
    errors = reference.merge_parts(output_errors)
    if options.float_weights in ("float16", "float32"):
        return [Variant(options.float_weights, model, errors)]
    stored = store_float_weights(model, target, exclude_layers(options.exclude, options.large_weights))
    if stored is None:
        return [Variant(None, model, errors)]
    large = Variant("float16", model, errors)  # which the finished file has (storage/narrow_constants)
    small = Variant("int8", stored, reference.merge_parts(reference.errors(stored)))
    return [small] if options.float_weights == "int8" else [small, large]


def store_float_weights(model: ir.Model, target: Target, exclude: Sequence[str]) -> ir.Model | None:
    """A copy of ``model`` whose float weights are stored in int8; None where that saves nothing to speak of.

    Args:
        model: Quantised in part; not changed.
        target: What it is quantised for: one that takes int8 from Q/DQ alone keeps its floats.
        exclude: Regular expressions of layers that keep their weights as they are.
    """
    if target.no_contrib_ops_reason is not None:
        return None
    copy = model_file.clone(model)
    if not write_expanded_weights(copy, exclude).changed:
        return None
    return copy if measure_bytes(copy) <= (1 - MIN_SAVED_SHARE) * measure_bytes(model) else None


def get_borne_error(float_error: float, max_error: float) -> float:
    """The relative squared error that an output may have for smaller weights.

    Args:
        float_error: With them in float.
        max_error: What an output may lose at all.
    """
    return min(max(MAX_ERROR_GROWTH * float_error, MAX_ERROR_SHARE * max_error), max(float_error, max_error))
