"""SmoothQuant: outlier channels of an activation moved into the weights that read it, exactly.

Xiao et al., SmoothQuant, 2022: x·W = (x / s)·(s·W), with s = max|x_k|^a / max|W_k|^(1 - a) for each channel k. A few
channels of a transformer's activations are tens of times larger than the rest and leave the others a handful of codes;
weights have room for them. All layers that read one tensor share its factors. The strength ``a`` is chosen for each
tensor by the layers' own output error on sampled rows (``noise.py``), and nothing is done where that gains little.

The division goes into the LayerNormalization in front when nobody else reads its output; otherwise it is a Mul, cheap
beside the layer, that only these layers read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.quantize.linear import Linear, Weight
from onnxslim.quantize.noise import Observed, matrix, noise
from onnxslim.quantize.write import Writer, drop_unread

#: Strengths that are tried.
STRENGTHS = (0.3, 0.5, 0.65, 0.8)
#: Decibels that the layers' error must fall by: a division that goes into a LayerNormalization, and one more Mul.
FREE, PAID = 0.5, 2.0


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


def smoothings(found: Sequence[Weight], seen: Mapping[str, Observed]) -> list[Smoothing]:
    """The activations whose layers gain by being smoothed.

    Args:
        found: Weights (:func:`~onnxslim.quantize.linear.weights`); those that are shared or tied are left alone.
        seen: Activations by tensor name.
    """
    result = []
    for x, linears in _groups(found).items():
        observed = seen.get(str(x.name))
        if observed is None:
            continue
        factors, strength, gain = _best(observed, linears)
        folded = _foldable(x, linears) is not None
        if gain >= (FREE if folded else PAID):
            names = tuple(linear.name for linear in linears)
            result.append(Smoothing(str(x.name), names, strength, round(gain, 2), folded, factors))
    return result


def smooth(model: ir.Model, found: Sequence[Weight], chosen: Sequence[Smoothing]) -> None:
    """Do what was ``chosen`` to a model, in place; its float outputs stay what they are, up to rounding."""
    factors = {one.tensor: one.factors for one in chosen}
    writer = Writer(model)
    for x, linears in _groups(found).items():
        if str(x.name) in factors:
            own = factors[str(x.name)]
            _divide(writer, x, linears, own, _foldable(x, linears))
            for linear in linears:
                _multiply(writer, model, linear, own)


def _groups(found: Sequence[Weight]) -> dict[ir.Value, list[Linear]]:
    """Layers by the tensor they read, where none of them shares its weights."""
    groups: dict[ir.Value, list[Linear]] = {}
    alone = {weight.source for weight in found if len(weight.linears) == 1 and not weight.tables}
    for linear in (linear for weight in found for linear in weight.linears):
        groups.setdefault(linear.activation, []).append(linear)
    return {x: linears for x, linears in groups.items() if all(linear.source in alone for linear in linears)}


def scales(peak: np.ndarray, weight: np.ndarray, strength: float) -> np.ndarray:
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


def _best(observed: Observed, linears: Sequence[Linear]) -> tuple[np.ndarray, float, float]:
    """Factors, strength and gain in dB of the best strength."""
    matrices = [matrix(linear) for linear in linears]
    largest = np.max([np.abs(array).max(axis=1) for array in matrices], axis=0)
    before = sum(noise(observed, array) for array in matrices)
    tried = []
    for strength in STRENGTHS:
        factors = scales(observed.peak, largest, strength)
        after = sum(noise(observed, array, factors) for array in matrices)
        tried.append((after, strength, factors))
    after, strength, factors = min(tried, key=lambda one: one[0])
    return factors, strength, 10 * float(np.log10(max(before, 1e-30) / max(after, 1e-30)))


def _foldable(x: ir.Value, linears: Sequence[Linear]) -> list[tuple[ir.Node, int]] | None:
    """Where the per-channel scale and shift of the normalisation that makes ``x`` are read, or None."""
    producer = x.producer()
    if producer is None or x.is_graph_output() or {use.node for use in x.uses()} != {one.node for one in linears}:
        return None
    if any(use.idx != 0 for use in x.uses()):
        return None
    size = linears[0].columns[0]
    if producer.op_type == "LayerNormalization":
        places = [(producer, index) for index in (1, 2) if index < len(producer.inputs) and producer.inputs[index]]
    elif producer.op_type == "Add":  # a LayerNormalization in parts: · scale, + shift
        shift = next((index for index in (0, 1) if _vector(producer.inputs[index], size)), None)
        scaled = producer.inputs[1 - shift] if shift is not None else None
        product = None if scaled is None else scaled.producer()
        if shift is None or scaled is None or product is None or product.op_type != "Mul" or len(scaled.uses()) != 1:
            return None
        scale = next((index for index in (0, 1) if _vector(product.inputs[index], size)), None)
        if scale is None or scaled.is_graph_output():
            return None
        places = [(product, scale), (producer, shift)]
    else:
        return None
    return places if all(_vector(node.inputs[index], size) for node, index in places) else None


def _vector(value: ir.Value | None, size: int) -> bool:
    array = constant(value)
    return array is not None and array.shape == (size,) and array.dtype == np.float32


def _divide(
    writer: Writer, x: ir.Value, linears: Sequence[Linear], factors: np.ndarray, norm: list[tuple[ir.Node, int]] | None
) -> None:
    if norm is not None:
        for node, index in norm:
            old = node.inputs[index]
            array = constant(old)
            assert old is not None
            assert array is not None
            node.replace_input_with(index, writer.constant(f"{old.name}_smooth", array / factors))
            drop_unread(writer.model, old)
        return
    first = next(node for node in writer.model.graph if node in {linear.node for linear in linears})
    inverse = writer.constant(f"{x.name}_smooth", (1 / factors).astype(np.float32))
    divided = writer.before(first, "Mul", x, inverse, name=f"{x.name}_smoothed", dtype=x.dtype, shape=x.shape)
    for linear in linears:
        linear.node.replace_input_with(0, divided.outputs[0])


def _multiply(writer: Writer, model: ir.Model, linear: Linear, factors: np.ndarray) -> None:
    array = matrix(linear) * factors[:, None]
    stored = array.T if linear.node.attributes.get_int("transB", 0) else array
    linear.node.replace_input_with(1, writer.constant(f"{linear.source.name}_smooth", stored.astype(np.float32)))
    drop_unread(model, linear.source)
