"""What the float model computes at places drawn at random: the rows that layers are mended to reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onnxslim.quantize.watch import append, integers, output
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import prune_unused

_DRAW = "drawn__uniform"


@dataclass(frozen=True)
class Targets:
    """One layer's outputs at the drawn positions of every sample.

    Attributes:
        positions: Per sample int64 (p,), flat indices into the output's grid.
        grids: Per sample the grid's sizes: spatial axes of a feature map, all axes but the last of rows.
        halves: float16 (samples, p, outputs), in the sample's unit: a rounding far below that of eight bits.
        units: float32 (samples,), each sample's largest magnitude; one may be silent, or much louder than the others.
    """

    positions: list[np.ndarray]
    grids: list[tuple[int, ...]]
    halves: np.ndarray
    units: np.ndarray

    def outputs(self) -> np.ndarray:
        """float32 (samples · p, outputs)."""
        values = self.halves.astype(np.float32) * self.units[:, None, None]
        return np.asarray(values.reshape(-1, values.shape[-1]))


@dataclass(frozen=True)
class Wanted:
    """What to draw of a tensor: a feature map (1, channels, …) or rows (…, features); how many positions a sample."""

    is_map: bool
    count: int


def targets(
    model: ir.Model,
    wanted: Mapping[str, Wanted],
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
) -> dict[str, Targets]:
    """The targets by tensor.

    Args:
        model: The float model; it is not changed.
        wanted: By tensor of the main graph what is wanted of each sample.
        feeds: Single samples.
        config: Where to run.
        seed: Of the draw.
    """
    watched = model.clone()
    watched.graph.outputs.clear()
    by_name = {value.name: value for node in watched.graph for value in node.outputs}
    count = max((one.count for one in wanted.values()), default=1)
    draw = ir.Value(name=_DRAW, type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([count]))
    watched.graph.inputs.append(draw)
    for index, (name, one) in enumerate(wanted.items()):
        some = append(watched, "Slice", [draw, integers(watched, [0]), integers(watched, [one.count])])
        _gather(watched, by_name[name], some, one.is_map, f"drawn__{index}")
    prune_unused(watched.graph)
    drawn = (
        {**feed, _DRAW: np.random.default_rng((seed, index)).random(count, np.float32)}
        for index, feed in enumerate(feeds)
    )

    found: dict[str, Targets] = {}

    def read(index: int, outputs: dict[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray, tuple[int, ...]]]:
        result = []
        for number, one in enumerate(wanted.values()):
            rows, positions, shape = (outputs[f"drawn__{number}_{key}"] for key in ("rows", "positions", "shape"))
            grid = tuple(int(n) for n in (shape[2:] if one.is_map else shape[:-1]))
            result.append((rows[0].T if one.is_map else rows, positions.copy(), grid))
        return result

    for index, sample in enumerate(run_all(watched, drawn, read, config) if wanted else ()):
        for name, (rows, positions, grid) in zip(wanted, sample, strict=True):
            # one block a layer: a small piece of each sample would keep the memory of its whole run from being freed
            if name not in found:
                empty = np.empty((len(feeds), *rows.shape), np.float16)
                found[name] = Targets([], [], empty, np.empty(len(feeds), np.float32))
            layer = found[name]
            layer.units[index] = max(np.abs(rows).max(initial=0.0), np.finfo(np.float32).tiny)
            layer.halves[index] = rows / layer.units[index]
            layer.positions.append(positions)
            layer.grids.append(grid)
    return found


def _gather(model: ir.Model, value: ir.Value, draw: ir.Value, is_map: bool, prefix: str) -> None:
    """Outputs ``_rows``, ``_positions`` and ``_shape`` of one tensor."""
    shape = append(model, "Shape", [value])
    first, last, rest = (integers(model, [n]) for n in ((0, 2, -1) if is_map else (-1, 2**62, -1)))
    kept = append(model, "Slice", [shape, first, last])
    # (batch, channels, positions) or (positions, features)
    wanted = append(model, "Concat", [kept, rest] if is_map else [rest, kept], axis=0)
    matrix = append(model, "Reshape", [value, wanted])
    axis = 2 if is_map else 0
    total = append(model, "Gather", [append(model, "Shape", [matrix]), integers(model, [axis])])
    place = append(model, "Mul", [draw, append(model, "Cast", [total], to=int(ir.DataType.FLOAT))])
    index = append(model, "Cast", [append(model, "Floor", [place])], to=int(ir.DataType.INT64))
    # the product may round up to the total itself
    index = append(model, "Min", [index, append(model, "Sub", [total, integers(model, [1])])])
    output(model, append(model, "Gather", [matrix, index], axis=axis), f"{prefix}_rows", value.dtype)
    output(model, index, f"{prefix}_positions", ir.DataType.INT64)
    output(model, shape, f"{prefix}_shape", ir.DataType.INT64)
