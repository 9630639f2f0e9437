"""Builds models of weights in a format each; what was rounded for one is kept for the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import Pacer
from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.numerics.blockwise import BlockwiseWeight
from onnxslim.quantization.weight_only.codebook import Codebook
from onnxslim.quantization.weight_only.expanded import write_expanded_weights
from onnxslim.quantization.weight_only.mixed.formats import MixedWeight, Rounded, rebind_weights
from onnxslim.quantization.weight_only.mixed.second_moments import iter_moments
from onnxslim.quantization.weight_only.weights import WeightTensor
from onnxslim.runtime.session import SessionConfig


class MixedBuilder:
    """Builds models whose weights are in formats that are given.

    Args:
        model: The float model; it is not changed.
        weights: Those of it that have a choice.
        exclude: Regular expressions of layers that stay float.
        feeds: What layers read is taken of these.
        config: Where they are run.
        pace: What tells before each weight whether there is time to fit it to the data.
        max_fitted: The decision of an earlier run whose time was up: only so many weights, the first ones, are fitted.

    Attributes:
        fitted_count: How many weights, the first ones, are fitted to the data.
    """

    def __init__(
        self,
        model: ir.Model,
        weights: Sequence[MixedWeight],
        exclude: Sequence[str],
        *,
        feeds: CalibrationFeeds,
        config: SessionConfig,
        pace: Callable[[], Pacer] = lambda: Pacer(None),
        max_fitted: int | None = None,
    ) -> None:
        self._model, self._weights, self._exclude = model, weights, exclude
        self._feeds, self._config, self._pace = feeds, config, pace
        self._rounded: dict[tuple[str, str], Rounded] = {}
        self.fitted_count = len(weights) if max_fitted is None else min(max_fitted, len(weights))

    def build(self, chosen: Mapping[str, str]) -> tuple[ir.Model, StepReport]:
        """The model with the weights of these names in the formats that ``chosen`` says, fitted to the data,
        and what was written.
        """
        pending = {
            weight.name: position
            for position, weight in enumerate(self._weights[: self.fitted_count])
            if (weight.name, chosen[weight.name]) not in self._rounded
        }
        pacer, missing = self._pace(), [self._weights[position] for position in pending.values()]
        for weight, moments in iter_moments(self._model, missing, self._feeds, self._config):
            if moments is not None and not pacer.fits():
                self._fit_fewer(min(pending.values()))
                break
            feedback = None if moments is None else moments.feedback
            self._rounded[weight.name, chosen[weight.name]] = weight.round(chosen[weight.name], feedback)
            del pending[weight.name]
        for weight in self._weights:
            if (weight.name, chosen[weight.name]) not in self._rounded:
                self._rounded[weight.name, chosen[weight.name]] = weight.round(chosen[weight.name])
        return self._write({name: self._rounded[name, text] for name, text in chosen.items()})

    def _fit_fewer(self, count: int) -> None:
        """From now on fit the first ``count`` weights alone, so that this number is all that repeats what is built."""
        self.fitted_count = count
        kept = {weight.name for weight in self._weights[:count]}
        self._rounded = {key: rounded for key, rounded in self._rounded.items() if key[0] in kept}

    def sketch(self, chosen: Mapping[str, str]) -> ir.Model:
        """A model of the size and the speed of what :meth:`build` makes; codes of blocks are drawn at random."""
        rng, drawn = np.random.default_rng(0), dict[str, Rounded]()
        for weight in self._weights:
            key = weight.name, chosen[weight.name]
            if isinstance(weight.stored, WeightTensor) and key not in self._rounded:
                self._rounded[key] = weight.round(key[1])  # nothing is fitted, so that this is what is built
            drawn[weight.name] = self._rounded.get(key) or _draw_blocks(weight, key[1], rng)
        return self._write(drawn)[0]

    def _write(self, rounded: Mapping[str, Rounded]) -> tuple[ir.Model, StepReport]:
        copy, report = model_file.clone(self._model), StepReport("weights")
        editor = GraphEditor(copy.graph)
        for weight in rebind_weights(copy, self._weights):
            weight.write(editor, rounded[weight.name])
            report.count(_describe(rounded[weight.name]))
        # what has no choice: weights of bodies, and what blocks do not fit
        expanded = write_expanded_weights(copy, self._exclude)
        new_names = copy.graph.initializers.keys() - self._model.graph.initializers.keys()
        expanded.skipped = [entry for entry in expanded.skipped if entry.node not in new_names]  # scales of what was written
        report.add(expanded)
        return copy, report


def _describe(rounded: Rounded) -> str:
    if isinstance(rounded, BlockwiseWeight):
        return f"weights in {rounded.bits} bits"
    if isinstance(rounded, Codebook):
        return f"weights as codebooks of {rounded.k}, expanded at load"
    return "weights in int8, expanded at load"


def _draw_blocks(weight: MixedWeight, text: str, rng: np.random.Generator) -> BlockwiseWeight:
    block_format, shape = BlockFormat.parse(text), weight.matrix.shape
    assert block_format is not None
    blocks, bits = block_format.count_blocks(shape[1]), block_format.bits
    codes = rng.integers(0, 256, (shape[0], blocks, block_format.block_size * bits // 8), np.uint8)
    scales = rng.uniform(0.01, 0.02, (shape[0], blocks)).astype(np.float32)
    zero_points = rng.integers(0, 256, (shape[0], -(-blocks * bits // 8)), np.uint8) if block_format.has_zero_point else None
    return BlockwiseWeight(codes, scales, bits, block_format.block_size, shape[1], zero_points)
