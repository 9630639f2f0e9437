"""What each weight in each of its formats costs the outputs.

What a format does to a layer is computed from its weights and the second moments of its inputs. How much of that comes out
at the end is measured once a weight, with it alone in a coarse format; errors of one layer by two formats are alike but for
their size, so that the two multiply. The weights are inputs of the model that is run, so that it is loaded once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.activations.output_error import ReferenceOutputs, SizedFeeds
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.shapes import read_dim_sizes
from onnxslim.model_io import model_file
from onnxslim.quantization.calibration.feeds import CalibrationFeeds
from onnxslim.quantization.evaluation.group_losses import MAX_TRIALS, measure_group_losses
from onnxslim.quantization.linear_layers import WeightMatrix
from onnxslim.quantization.numerics.block_grids import BlockFormat
from onnxslim.quantization.numerics.blockwise import quantize_nearest
from onnxslim.quantization.weight_only.mixed.formats import MixedWeight
from onnxslim.quantization.weight_only.mixed.second_moments import InputMoments, iter_moments
from onnxslim.runtime.parallel import SessionPool
from onnxslim.runtime.session import SessionConfig

#: Rows of a weight that its error is estimated from: they are rounded independently, and alike.
MAX_ROWS = 48
#: How a weight is rounded, to nearest, where what comes of it at the outputs is measured.
_COARSE_BITS, _COARSE_BLOCK_SIZE, _COARSE_EXPANDED = 4, 32, "codebook:16"
#: Runs that losses are measured on, at least and at most, the multiply-accumulates that decide in between, and those of all.
_MIN_RUNS, _MAX_RUNS, _RUN_MACS, _TOTAL_MACS = 4, 32, 4e10, 1e12
#: Losses below this share of the largest are nothing that was measured.
_MIN_LOSS_SHARE = 1e-6


class SwappedWeights:
    """A model that is run with other weights than it has, however often, loaded once.

    Args:
        model: The float model; it is not changed.
        weights: What may be swapped.
        feeds: What it is run on.
        states: Outputs that are fed back: what they hold shows in the others, so that they count only where there are none.
        config: Where to run.
    """

    def __init__(
        self,
        model: ir.Model,
        weights: Sequence[MixedWeight],
        feeds: SizedFeeds,
        states: Collection[str],
        config: SessionConfig,
    ) -> None:
        self._states = frozenset(states)
        copy = model_file.clone(model)
        floats = {str(weight.value.name): weight.value for weight in weights}
        for name, value in floats.items():
            tensor = copy.graph.initializers.pop(name)
            parameter = ir.Value(name=name, type=value.type, shape=tensor.shape)
            tensor.replace_all_uses_with(parameter)
            copy.graph.inputs.append(parameter)
        arrays = {name: _read(value) for name, value in floats.items()}
        self._reference = ReferenceOutputs(copy, _FeedsWithWeights(feeds, arrays), config)
        self._pool = SessionPool(copy, config)

    def measure(self, arrays: Mapping[str, np.ndarray]) -> float:
        """What the outputs lose with ``arrays`` for the weights of these names: relative squared errors, added up."""
        errors = self._reference.merge_parts(self._reference.errors(self._pool, arrays))
        # a cache may lose a lot that nobody ever reads: bytes spent on that are missing where answers are made
        judged = [error for name, error in errors.items() if name not in self._states]
        return sum(judged or errors.values())


class _FeedsWithWeights:
    def __init__(self, feeds: SizedFeeds, arrays: Mapping[str, np.ndarray]) -> None:
        self._feeds, self._arrays = feeds, arrays

    def __len__(self) -> int:
        return len(self._feeds)

    def __iter__(self) -> Iterator[Mapping[str, np.ndarray]]:
        return ({**self._arrays, **feed} for feed in self._feeds)


def estimate_losses(
    model: ir.Model,
    weights: Sequence[MixedWeight],
    feeds: CalibrationFeeds,
    *,
    moment_feeds: CalibrationFeeds,
    states: Collection[str],
    config: SessionConfig,
    fits: Callable[[], bool] = lambda: True,
) -> list[np.ndarray]:
    """What the outputs lose with each of ``weights`` in each of its formats, float64 (formats,): relative squared errors.

    Args:
        model: The float model.
        weights: With the choice that each has.
        feeds: Calibration data.
        moment_feeds: Those that moments are taken of.
        states: Outputs that are fed back.
        config: Where to run.
        fits: Asked before each weight, and before each run, whether there is time for it.
    """
    errors: dict[MixedWeight, tuple[np.ndarray, float]] = {}
    for weight, moments in iter_moments(model, weights, moment_feeds, config):
        if not fits():
            break
        errors[weight] = _estimate_errors(weight, moments)
    for weight in weights:  # what there was no time to watch
        if weight not in errors:
            errors[weight] = _estimate_errors(weight, None)
    loss_feeds, max_trials = _select_loss_feeds(model, feeds, len(weights))
    swapped = SwappedWeights(model, weights, loss_feeds, states, config)
    by_name = {weight.name: weight for weight in weights}

    def measure(names: Sequence[str]) -> float:
        return swapped.measure({str(by_name[name].value.name): _round_coarsely(by_name[name]) for name in names})

    found = measure_group_losses([weight.name for weight in weights], measure, fits, max_trials=max_trials)
    least = _MIN_LOSS_SHARE * max(found.values(), default=0.0) or 1.0
    return [errors[weight][0] * (max(found[weight.name], least) / max(errors[weight][1], 1e-30)) for weight in weights]


def _estimate_errors(weight: MixedWeight, moments: InputMoments | None) -> tuple[np.ndarray, float]:
    """The relative squared error of what a layer gives out with its weight in each format, and in the coarse one.

    Error feedback takes about the same share of it in one format as in another, so that it is done in one.
    """
    if not isinstance(weight.stored, WeightMatrix):
        floats = weight.matrix
        rounded = (weight.expand(weight.round(text)) for text in weight.formats)
        errors = np.array([_energy(array - floats, None) for array in rounded])
        energy = max(_energy(floats, None), 1e-30)  # which weights that are all zero have none of
        return errors / energy, _energy(_coarsen(weight) - floats, None) / energy
    rows = slice(None, None, -(-len(weight.matrix) // MAX_ROWS))
    floats, gram = weight.matrix[rows], None if moments is None else moments.gram

    def measure(array: np.ndarray) -> float:
        return _energy(array - floats, gram) / max(_energy(floats, gram), 1e-30)

    errors = np.array([measure(weight.expand(weight.round(text, rows=rows))) for text in weight.formats])
    coarse = measure(_coarsen(weight, rows))
    if moments is not None:
        middle = len(weight.formats) // 2
        fed_back = weight.round(weight.formats[middle], moments.feedback, rows)
        errors *= measure(weight.expand(fed_back)) / max(errors[middle], 1e-30)
    return errors, coarse


def _energy(array: np.ndarray, gram: np.ndarray | None) -> float:
    if gram is None:
        return float(np.square(array, dtype=np.float64).sum())
    return float(np.einsum("nk,nk->", array @ gram, array))


def _coarsen(weight: MixedWeight, rows: slice = slice(None)) -> np.ndarray:
    """The weight in the coarse format, or some rows of a matrix."""
    if isinstance(weight.stored, WeightMatrix):
        return quantize_nearest(weight.matrix[rows], BlockFormat(_COARSE_BITS, _COARSE_BLOCK_SIZE)).dequantize()
    text = _COARSE_EXPANDED if _COARSE_EXPANDED in weight.formats else weight.formats[-1]
    return weight.expand(weight.round(text))


def _round_coarsely(weight: MixedWeight) -> np.ndarray:
    """The weight in the coarse format, as it is stored, in the type that it has."""
    array, stored = _coarsen(weight), weight.stored
    is_turned = isinstance(stored, WeightMatrix) and stored.scale_axis == 1
    return np.ascontiguousarray(array.T if is_turned else array, dtype=_read(weight.value).dtype)


def _select_loss_feeds(model: ir.Model, feeds: CalibrationFeeds, count: int) -> tuple[list[Mapping[str, np.ndarray]], int]:
    """The runs that losses are measured on, and how often that may be done."""
    macs = max(compute_cost(model, read_dim_sizes(model, feeds.with_prompts(1).first(1)[0])).macs, 1)
    runs = int(min(max(_RUN_MACS / macs, _MIN_RUNS), _MAX_RUNS))
    max_trials = int(min(max(_TOTAL_MACS / (macs * runs), MAX_TRIALS), 2 * count))
    return feeds.with_prompts(runs).first(runs), max_trials


def _read(value: ir.Value) -> np.ndarray:
    assert value.const_value is not None
    return value.const_value.numpy()
