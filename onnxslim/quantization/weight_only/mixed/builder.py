"""Builds models of weights in a format each; what was rounded for one is kept for the next."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.core.deadline import Pacer
from onnxslim.core.step_report import StepReport
from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.linear_layers import WeightMatrix
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
        fitted: The decision of an earlier run whose time was up: only the weights of these names are fitted; None for all.
        losses: What the outputs lose with each weight in each of its formats, as far as that is known: what loses most is
            fitted first, because fitting takes about the same share of any loss away.

    Attributes:
        fitted: Names of the weights that are fitted to the data, sorted; None where there was time for all.
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
        fitted: Collection[str] | None = None,
        losses: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        self._model, self._weights, self._exclude = model, weights, exclude
        self._feeds, self._config, self._pace = feeds, config, pace
        self._rounded: dict[tuple[str, str], Rounded] = {}
        self._losses = losses or {}
        self.fitted = None if fitted is None else tuple(sorted(fitted))

    def build(self, chosen: Mapping[str, str]) -> tuple[ir.Model, StepReport]:
        """The model with the weights of these names in the formats that ``chosen`` says, fitted to the data,
        and what was written.
        """
        fitted = self._list_fitted()
        pending = {
            weight.name: weight
            for weight in sorted(self._weights, key=lambda one: -self._losses.get((one.name, chosen[one.name]), 0.0))
            if weight.name in fitted and (weight.name, chosen[weight.name]) not in self._rounded
        }
        pacer = self._pace()
        for weight, moments in iter_moments(self._model, list(pending.values()), self._feeds, self._config):
            if moments is not None and not pacer.fits():
                self._fit_no_more(fitted - pending.keys())
                break
            feedback = None if moments is None else moments.feedback
            self._rounded[weight.name, chosen[weight.name]] = weight.round(chosen[weight.name], feedback)
            del pending[weight.name]
        for weight in self._weights:
            if (weight.name, chosen[weight.name]) not in self._rounded:
                self._rounded[weight.name, chosen[weight.name]] = weight.round(chosen[weight.name])
        return self._write({name: self._rounded[name, text] for name, text in chosen.items()})

    def _list_fitted(self) -> set[str]:
        names = {weight.name for weight in self._weights if isinstance(weight.stored, WeightMatrix)}
        return names if self.fitted is None else names.intersection(self.fitted)

    def _fit_no_more(self, fitted: Collection[str]) -> None:
        """From now on fit the weights ``fitted`` alone, so that their names are all that repeats what is built."""
        self.fitted = tuple(sorted(fitted))
        self._rounded = {key: rounded for key, rounded in self._rounded.items() if key[0] in fitted}

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
