"""Weights and biases mended layer by layer, each with everything before it already quantised.

For every weighted int8 layer, in order: rows of its quantised input and the float model's output at the same places are
sampled; the weights are rounded with error feedback for those inputs (Frantar et al., GPTQ, 2022), and the bias is set so
that the mean output behind the activation is right (Nagel et al., Data-free quantization, 2019). Each of the two helps
most networks and harms some (means follow the few samples whose values saturate), so both are offered alone and
together, and the caller keeps what its outputs are best with. What comes out is the same graph with other numbers in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.progress import Progress, silent
from onnxslim.quantize import patches, solve
from onnxslim.quantize.encode import weight_scales
from onnxslim.quantize.insert import Choices, Codes, bias_of, weight_axis
from onnxslim.quantize.patches import Window
from onnxslim.quantize.plan import Plan, Unit
from onnxslim.quantize.replay import Replay
from onnxslim.runtime.parallel import run_all
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import tap

#: Samples that are replayed; activations of so many are held as 8-bit codes.
SAMPLES = 64
#: Rows that a layer is fitted to, spread over the samples.
ROWS = 2048


@dataclass(frozen=True)
class Way:
    """What is mended: the rounding of the weights, the bias, or both."""

    rounding: bool
    bias: bool


WAYS = {"rounding": Way(True, False), "bias": Way(False, True), "rounding and bias": Way(True, True)}


@dataclass(frozen=True)
class Mended:
    """What mending one layer did.

    Attributes:
        name: The layer.
        before: Relative squared output error with rounded weights and the float bias.
        after: The same with the mended ones, on the same rows.
    """

    name: str
    before: float
    after: float


def correct(
    model: ir.Model,
    plan: Plan,
    choices: Choices,
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, tuple[Choices, list[Mended]]]:
    """For each of :data:`WAYS` the choices with codes for every weighted int8 unit of ``plan``, and what that did.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        choices: The encodings.
        feeds: Single samples; the first :data:`SAMPLES` are used.
        config: Where to run.
        seed: Of the sampled positions.
        progress: Called after each unit.
    """
    feeds = list(feeds[:SAMPLES])
    layers = [unit for unit in plan.units if unit.name in plan.int8 and unit.weighted]
    draw = _Draw({unit.name: index for index, unit in enumerate(layers)}, math.ceil(ROWS / len(feeds)), seed)
    targets = _targets(model, layers, feeds, draw, config)
    result = {}
    for number, (name, way) in enumerate(WAYS.items()):
        own, account = replace(choices, codes={}), []
        # later layers must see earlier ones mended, so the replay reads the very codes that are filled here
        replay = Replay(model, plan, own, feeds, config)
        for done, unit in enumerate(plan.units):
            if unit.name in targets:
                found = targets[unit.name]
                x = np.concatenate([_rows(unit, replay, index, target) for index, target in enumerate(found)], axis=1)
                y = np.concatenate([target.output for target in found])
                own.codes[unit.name], mended = _mend(unit, own, way, x, y)
                account.append(mended)
            replay.run(unit)
            progress("correcting", number * len(plan.units) + done + 1, len(WAYS) * len(plan.units))
        result[name] = (own, account)
    return result


@dataclass(frozen=True)
class _Draw:
    """Seeded positions, the same for a layer's inputs and outputs."""

    layers: Mapping[str, int]
    wanted: int
    seed: int

    def __call__(self, name: str, sample: int, total: int) -> np.ndarray:
        generator = np.random.default_rng((self.seed, self.layers[name], sample))
        return np.sort(generator.choice(total, min(total, self.wanted), replace=False))


@dataclass(frozen=True)
class _Target:
    """What the float model has at the drawn positions of one sample: (p, outputs); and the grid they lie in."""

    output: np.ndarray
    positions: np.ndarray
    grid: tuple[int, ...]


def _targets(
    model: ir.Model, layers: Sequence[Unit], feeds: Sequence[Mapping[str, np.ndarray]], draw: _Draw, config: SessionConfig
) -> dict[str, list[_Target]]:
    names = {unit.name: str(_linear_output(unit).name) for unit in layers}

    def sample(index: int, found: dict[str, np.ndarray]) -> dict[str, _Target]:
        result = {}
        for unit in layers:
            array = _as_grid(unit, found[names[unit.name]])
            positions = draw(unit.name, index, math.prod(array.shape[1:]))
            rows = array.reshape(array.shape[0], -1)[:, positions].T.copy()
            result[unit.name] = _Target(rows, positions, array.shape[1:])
        return result

    per_sample = list(run_all(tap(model, names.values(), only=True), feeds, sample, config))
    return {unit.name: [found[unit.name] for found in per_sample] for unit in layers}


def _linear_output(unit: Unit) -> ir.Value:
    """The output of the layer itself, its bias included, before any activation."""
    place = bias_of(unit)
    return (place[0] if place is not None else unit.anchor).outputs[0]


def _as_grid(unit: Unit, array: np.ndarray) -> np.ndarray:
    """One sample's activation as (channels, *positions)."""
    if unit.op == "Conv":
        return np.asarray(array[0])
    return np.asarray(array.reshape(-1, array.shape[-1]).T)


def _rows(unit: Unit, replay: Replay, sample: int, target: _Target) -> np.ndarray:
    """What the quantised layer multiplies at the target's positions: (groups, p, inputs of an output)."""
    array = _as_grid(unit, replay.value(str(unit.inputs[0].name), sample))
    if unit.op != "Conv":
        return array[:, target.positions].T[None]
    window = _window(unit, array.shape[1:], target.grid)
    return patches.unfold(array, window, target.positions, target.grid)


def _window(unit: Unit, spatial: Sequence[int], outputs: Sequence[int]) -> Window:
    node = unit.anchor
    weight = constant(node.inputs[1])
    assert weight is not None
    rank = weight.ndim - 2
    ones = (1,) * rank
    window = Window(
        weight.shape[2:],
        tuple(node.attributes.get_ints("strides", ones)),
        tuple(node.attributes.get_ints("dilations", ones)),
        (0,) * rank,
        node.attributes.get_int("group", 1),
    )
    begins = patches.begins(
        node.attributes.get_string("auto_pad", "NOTSET"),
        node.attributes.get_ints("pads", (0,) * (2 * rank)),
        spatial,
        outputs,
        window,
    )
    return Window(window.kernel, window.strides, window.dilations, begins, window.groups)


def _mend(unit: Unit, choices: Choices, way: Way, x: np.ndarray, y: np.ndarray) -> tuple[Codes, Mended]:
    weight = constant(unit.anchor.inputs[1])
    assert weight is not None
    groups = x.shape[0]
    shaped = _to_matrix(unit, weight, groups)
    rows = solve.rows(x, y.reshape(len(y), groups, -1).transpose(1, 0, 2))
    entry = float(choices.encodings[str(unit.inputs[0].name)].scale)
    top = 2 ** (choices.weight_bits - 1) - 1
    flat = shaped.reshape(groups * shaped.shape[1], -1)
    place = bias_of(unit)
    given = constant(place[0].inputs[place[1]]) if place is not None else None
    own = np.zeros(shaped.shape[:2]) if given is None else given.reshape(shaped.shape[:2])
    # room for the bias to move without overflowing int32
    bound = 2.0 * np.abs(own).reshape(-1) + np.abs(rows.y_mean).reshape(-1)
    scales = weight_scales(flat, 0, bits=choices.weight_bits, bias=bound, input_scale=entry).reshape(groups, -1)
    nearest = np.clip(np.rint(shaped / scales[:, :, None]), -top, top).astype(np.int8)
    codes = solve.round_codes(shaped, rows.gram, scales.astype(np.float64), top) if way.rounding else nearest
    before, after = nearest * scales[:, :, None], codes * scales[:, :, None]
    mended = Mended(unit.name, solve.output_error(rows, before), solve.output_error(rows, after))
    bias = None
    if way.bias and (place is not None or unit.op != "MatMul"):
        bias = solve.bias(rows, after, own, _kept(unit, choices)).reshape(-1).astype(np.float32)
    return Codes(_from_matrix(unit, codes, weight.shape), scales.reshape(-1), bias), mended


def _kept(unit: Unit, choices: Choices) -> tuple[float, float]:
    """The range of values that survive behind the layer: its activation's, and its output encoding's."""
    low, high = unit.clip
    encoding = choices.encodings.get(str(unit.outputs[0].name))
    if encoding is not None:
        limits = np.iinfo(encoding.zero_point.dtype)
        ends = encoding.dequantise(np.array([limits.min, limits.max], encoding.zero_point.dtype))
        low, high = max(low, float(ends[0])), min(high, float(ends[1]))
    return low, high


def _to_matrix(unit: Unit, weight: np.ndarray, groups: int) -> np.ndarray:
    """The weights as (groups, outputs of a group, inputs of an output)."""
    rows = weight if weight_axis(unit) == 0 else weight.T
    return rows.reshape(groups, rows.shape[0] // groups, -1)


def _from_matrix(unit: Unit, codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if weight_axis(unit) == 0:
        return codes.reshape(shape)
    return np.ascontiguousarray(codes.reshape(shape[1], shape[0]).T)
