"""SmoothQuant: outlier channels of an activation moved into the weights that read it, exactly.

Xiao et al., SmoothQuant, 2022: x·W = (x / s)·(s·W), with s = max|x_k|^a / max|W_k|^(1 - a) for each channel k. A few
channels of a transformer's activations are tens of times larger than the rest and leave the others a handful of codes;
weights have room for them. All layers that read one tensor share its factors. The strength ``a`` is chosen for each
tensor by the layers' own output error on sampled rows (:mod:`.layer_error`), and nothing is done where that gains little.

The division goes into the LayerNormalization in front when nobody else reads its output; otherwise it is a Mul, cheap
beside the layer, that only these layers read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import to_decibels
from onnxslim.graph.constants import get_const_array
from onnxslim.graph.editor import GraphEditor
from onnxslim.graph.layers import LinearLayer
from onnxslim.quantization.dynamic.layer_error import ObservedActivation, get_weight_matrix, quantization_noise
from onnxslim.quantization.linear_layers import MatMulLayer, WeightMatrix

#: Strengths that are tried.
CANDIDATE_STRENGTHS = (0.3, 0.5, 0.65, 0.8)
#: Decibels that the layers' error must fall by: a division that goes into a LayerNormalization, and one more Mul.
MIN_FOLDED_GAIN_DB, MIN_MUL_GAIN_DB = 0.5, 2.0


@dataclass(frozen=True)
class Smoothing:
    """What can be done to one activation.

    Attributes:
        tensor: Its name.
        layers: The layers that read it.
        strength: The best ``a``.
        gain_db: By how much the layers' error falls, on the rows it was chosen on.
        folded: Whether a LayerNormalization takes the division.
        factors: float32 (K,).
    """

    tensor: str
    layers: tuple[str, ...]
    strength: float
    gain_db: float
    folded: bool
    factors: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Everything but the factors."""
        return {name: value for name, value in vars(self).items() if name != "factors"}


def choose_smoothings(
    weight_matrices: Sequence[WeightMatrix], observed_inputs: Mapping[str, ObservedActivation]
) -> list[Smoothing]:
    """The activations whose layers gain by being smoothed.

    Args:
        weight_matrices: Weights (:func:`~onnxslim.quantization.linear_layers.find_weight_matrices`); those that are
            shared or tied are left alone.
        observed_inputs: Activations by tensor name.
    """
    result = []
    for x, layers in _group_by_input(weight_matrices).items():
        observed = observed_inputs.get(str(x.name))
        if observed is None:
            continue
        factors, strength, gain = choose_strength(observed, [get_weight_matrix(linear) for linear in layers])
        folded = _find_foldable_norm(x, layers) is not None
        if gain >= (MIN_FOLDED_GAIN_DB if folded else MIN_MUL_GAIN_DB):
            names = tuple(linear.name for linear in layers)
            result.append(Smoothing(str(x.name), names, strength, round(gain, 2), folded, factors))
    return result


def apply_smoothings(model: ir.Model, weight_matrices: Sequence[WeightMatrix], chosen: Sequence[Smoothing]) -> None:
    """Apply the ``chosen`` smoothings to a model, in place; its float outputs stay what they are, up to rounding."""
    factors = {smoothing.tensor: smoothing.factors for smoothing in chosen}
    editor = GraphEditor(model.graph)
    for x, layers in _group_by_input(weight_matrices).items():
        if str(x.name) in factors:
            layer_factors = factors[str(x.name)]
            _divide_activation(editor, x, layers, layer_factors, _find_foldable_norm(x, layers))
            for linear in layers:
                _multiply_weight(editor, linear, layer_factors)


def _group_by_input(weight_matrices: Sequence[WeightMatrix]) -> dict[ir.Value, list[MatMulLayer]]:
    """Layers by the tensor they read, where none of them shares its weights."""
    groups: dict[ir.Value, list[MatMulLayer]] = {}
    unshared = {weight.weight_value for weight in weight_matrices if len(weight.linear_layers) == 1 and not weight.tables}
    for linear in (linear for weight in weight_matrices for linear in weight.linear_layers):
        groups.setdefault(linear.activation, []).append(linear)
    return {x: layers for x, layers in groups.items() if all(linear.weight_value in unshared for linear in layers)}


def compute_smoothing_factors(peak: np.ndarray, weight: np.ndarray, strength: float) -> np.ndarray:
    """The factors of Xiao et al.: float32 (K,), positive, powers of the two peaks; 1 for channels that are never used.

    Args:
        peak: Largest absolute activation of each channel, (K,).
        weight: Largest absolute weight that reads each channel, (K,).
        strength: How much of the difficulty moves to the weights: 0 none … 1 all.
    """
    usable = (peak > 1e-12) & (weight > 1e-12)
    powers = np.where(usable, peak, 1.0) ** strength / np.where(usable, weight, 1.0) ** (1 - strength)
    # only ratios between channels matter; a mean of 1 keeps the numbers where float16 and denormals are far
    powers = powers / np.exp(np.log(powers[usable]).mean()) if usable.any() else powers
    return np.where(usable, powers, 1.0).astype(np.float32)


def choose_strength(observed: ObservedActivation, matrices: Sequence[np.ndarray]) -> tuple[np.ndarray, float, float]:
    """Factors, strength and gain in dB of the best strength for what is multiplied by ``matrices``, (K, N) each."""
    weight_peaks = np.max([np.abs(array).max(axis=1) for array in matrices], axis=0)
    error_before = sum(quantization_noise(observed, array) for array in matrices)
    candidates = []
    for strength in CANDIDATE_STRENGTHS:
        factors = compute_smoothing_factors(observed.peak, weight_peaks, strength)
        error_after = sum(quantization_noise(observed, array, factors) for array in matrices)
        candidates.append((error_after, strength, factors))
    error_after, strength, factors = min(candidates, key=lambda candidate: candidate[0])
    return factors, strength, to_decibels(max(error_before, 1e-30) / max(error_after, 1e-30))


def _find_foldable_norm(x: ir.Value, layers: Sequence[MatMulLayer]) -> list[tuple[ir.Node, int]] | None:
    """Where the per-channel scale and shift of the normalisation that makes ``x`` are read, or None."""
    producer = x.producer()
    if producer is None or x.is_graph_output() or {use.node for use in x.uses()} != {layer.node for layer in layers}:
        return None
    if any(use.idx != 0 for use in x.uses()):
        return None
    size = layers[0].matrix_shape[0]
    if producer.op_type == "LayerNormalization":
        norm_inputs = [(producer, index) for index in (1, 2) if index < len(producer.inputs) and producer.inputs[index]]
    elif producer.op_type == "Add":  # a LayerNormalization in parts: · scale, + shift
        shift = next((index for index in (0, 1) if _is_channel_vector(producer.inputs[index], size)), None)
        scaled = producer.inputs[1 - shift] if shift is not None else None
        product = None if scaled is None else scaled.producer()
        if shift is None or scaled is None or product is None or product.op_type != "Mul" or len(scaled.uses()) != 1:
            return None
        scale = next((index for index in (0, 1) if _is_channel_vector(product.inputs[index], size)), None)
        if scale is None or scaled.is_graph_output():
            return None
        norm_inputs = [(product, scale), (producer, shift)]
    else:
        return None
    return norm_inputs if all(_is_channel_vector(node.inputs[index], size) for node, index in norm_inputs) else None


def _is_channel_vector(value: ir.Value | None, size: int) -> bool:
    array = get_const_array(value)
    return array is not None and array.shape == (size,) and array.dtype == np.float32


def _divide_activation(
    editor: GraphEditor,
    x: ir.Value,
    layers: Sequence[MatMulLayer],
    factors: np.ndarray,
    norm_inputs: list[tuple[ir.Node, int]] | None,
) -> None:
    if norm_inputs is not None:
        for node, index in norm_inputs:
            parameter = node.inputs[index]
            array = get_const_array(parameter)
            assert parameter is not None
            assert array is not None
            editor.replace_input(node, index, editor.add_initializer(f"{parameter.name}_smooth", array / factors))
        return
    first = next(node for node in editor.graph if node in {linear.node for linear in layers})
    inverse = editor.add_initializer(f"{x.name}_smooth", (1 / factors).astype(np.float32))
    divided = editor.add_node("Mul", x, inverse, before=first, name=f"{x.name}_smoothed", dtype=x.dtype, shape=x.shape)
    for linear in layers:
        linear.node.replace_input_with(0, divided)


def _multiply_weight(editor: GraphEditor, linear: MatMulLayer, factors: np.ndarray) -> None:
    array = get_weight_matrix(linear) * factors[:, None]
    stored = LinearLayer(linear.node).as_stored(array.T)
    stem = f"{linear.weight_value.name}_smooth"
    editor.replace_input(linear.node, 1, editor.add_initializer(stem, stored.astype(np.float32)))
