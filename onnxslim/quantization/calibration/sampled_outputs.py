"""What the float model computes at places drawn at random: the rows that layers are mended to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.activations.observer import ObservedModel
from onnxslim.runtime.session import SessionConfig

_DRAW_INPUT = "drawn__uniform"


@dataclass(frozen=True)
class SampledOutputs:
    """One layer's outputs at the drawn positions of every sample.

    Attributes:
        positions: Per sample int64 (p,), flat indices into the output's grid; fewer where an output there is not finite
            (a masked row), none where the sample has none (an empty past, nothing detected).
        grid_shapes: Per sample the grid's sizes: spatial axes of a feature map, all axes but the last of rows.
        scaled_values: float16 (samples, p, outputs), in the sample's unit: a rounding far below that of eight bits; those of
            a sample with fewer positions come first.
        magnitudes: float32 (samples,), each sample's largest magnitude; one may be silent, or much louder than the others.
    """

    positions: list[np.ndarray]
    grid_shapes: list[tuple[int, ...]]
    scaled_values: np.ndarray
    magnitudes: np.ndarray

    def get_outputs(self) -> np.ndarray:
        """float32 (positions of all samples, outputs)."""
        values = self.scaled_values.astype(np.float32) * self.magnitudes[:, None, None]
        counts = np.array([len(positions) for positions in self.positions])
        return np.asarray(values[np.arange(values.shape[1]) < counts[:, None]])


@dataclass(frozen=True)
class SamplingRequest:
    """What to sample of a tensor: whether it is a feature map (batch, channels, …) or rows (…, features), and positions a
    run. Of the maps of a batch run ``i`` gives number ``i`` modulo the batch (:func:`pick_map`).
    """

    is_feature_map: bool
    count: int


def pick_map(maps: np.ndarray, run: int) -> np.ndarray:
    """The one of a run's feature maps (batch, …) that is sampled, as a batch (1, …); (0, …) of none."""
    first = run % max(1, len(maps))
    return maps[first : first + 1]


def sample_outputs(
    model: ir.Model,
    requests: Mapping[str, SamplingRequest],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
) -> dict[str, SampledOutputs]:
    """The targets by tensor.

    Args:
        model: The float model; it is not changed.
        requests: By tensor of the main graph what is wanted of each sample.
        feeds: Single samples.
        config: Where to run.
        seed: Of the draw.
    """
    observed = ObservedModel(model)
    count = max((request.count for request in requests.values()), default=1)
    draw_input = observed.add_input(_DRAW_INPUT, [count])
    for index, (name, request) in enumerate(requests.items()):
        draw = observed.append("Slice", draw_input, [0], [request.count])
        _add_sampling_ops(observed, observed.values[name], draw, request.is_feature_map, f"drawn__{index}")
    drawing_feeds = (
        {**feed, _DRAW_INPUT: np.random.default_rng((seed, index)).random(count, np.float32)}
        for index, feed in enumerate(feeds)
    )

    sampled: dict[str, SampledOutputs] = {}

    def read_sample(index: int, outputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
        result = []
        for number, request in enumerate(requests.values()):
            rows, positions, shape = (outputs[f"drawn__{number}_{key}"] for key in ("rows", "positions", "shape"))
            grid = tuple(int(n) for n in (shape[2:] if request.is_feature_map else shape[:-1]))
            if request.is_feature_map:
                rows = pick_map(rows, index)[0].T if len(rows) else rows.reshape(0, rows.shape[1])
            finite = np.isfinite(rows).all(axis=1)
            result.append((rows[finite], positions[: len(rows)][finite], grid))
        return result

    for index, sample in enumerate(observed.run(drawing_feeds, read_sample, config) if requests else ()):
        for name, (rows, positions, grid) in zip(requests, sample, strict=True):
            # one block a layer: a small piece of each sample would keep the memory of its whole run from being freed
            if name not in sampled:
                empty = np.zeros((len(feeds), requests[name].count, rows.shape[1]), np.float16)
                sampled[name] = SampledOutputs([], [], empty, np.empty(len(feeds), np.float32))
            layer = sampled[name]
            layer.magnitudes[index] = max(np.abs(rows).max(initial=0.0), np.finfo(np.float32).tiny)
            layer.scaled_values[index, : len(rows)] = rows / layer.magnitudes[index]
            layer.positions.append(positions)
            layer.grid_shapes.append(grid)
    return sampled


def _add_sampling_ops(observed: ObservedModel, value: ir.Value, draw: ir.Value, is_feature_map: bool, prefix: str) -> None:
    """Outputs ``_rows``, ``_positions`` and ``_shape`` of one tensor."""
    shape = observed.append("Shape", value)
    # (batch, channels, positions) or (positions, features)
    kept_dims = observed.append("Slice", shape, *(([0], [2]) if is_feature_map else ([-1], [2**62])))
    matrix_shape = observed.append("Concat", *((kept_dims, [-1]) if is_feature_map else ([-1], kept_dims)), axis=0)
    matrix, axis = observed.append("Reshape", value, matrix_shape), 2 if is_feature_map else 0
    total = observed.append("Gather", observed.append("Shape", matrix), [axis])
    # of nothing nothing can be drawn
    draw = observed.append("Slice", draw, [0], observed.append("Mul", total, [2**31]))
    scaled_draw = observed.append("Mul", draw, observed.append("Cast", total, to=int(ir.DataType.FLOAT)))
    index = observed.append("Cast", observed.append("Floor", scaled_draw), to=int(ir.DataType.INT64))
    # the product may round up to the total itself; Min takes integers from opset 12 on only
    is_inside = observed.append("Less", index, total)
    index = observed.append("Where", is_inside, index, observed.append("Sub", total, [1]))
    observed.add_output(observed.append("Gather", matrix, index, axis=axis), f"{prefix}_rows", value.dtype)
    observed.add_output(index, f"{prefix}_positions", ir.DataType.INT64)
    observed.add_output(shape, f"{prefix}_shape", ir.DataType.INT64)
