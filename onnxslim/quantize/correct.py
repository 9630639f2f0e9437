"""Weights and biases mended layer by layer, each with everything before it already quantised.

For every weighted int8 layer, in order: rows of its quantised input and the float model's output at the same places are
sampled; the weights are refitted towards those outputs where held-back rows say that it helps, rounded with error
feedback, and the bias set so that the mean output is right (Nagel et al., Data-free quantization, 2019, generalised from
means to rows). What comes out is the same graph with other numbers in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
ROWS = 3072


@dataclass(frozen=True)
class Mended:
    """What mending one layer did.

    Attributes:
        name: The layer.
        before: Relative squared output error with rounded weights and the float bias.
        after: The same with the mended ones, on the same rows.
        ridge: The ridge that was chosen; inf where the weights were not refitted.
    """

    name: str
    before: float
    after: float
    ridge: float


def correct(
    model: ir.Model,
    plan: Plan,
    choices: Choices,
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[dict[str, Codes], list[Mended]]:
    """Codes and biases for every weighted int8 unit of ``plan``.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        choices: The encodings; its codes are filled on the way, since later layers must see earlier ones mended.
        feeds: Single samples; the first :data:`SAMPLES` are used.
        config: Where to run.
        seed: Of the sampled positions.
        progress: Called after each unit.
    """
    feeds = list(feeds[:SAMPLES])
    layers = [unit for unit in plan.units if unit.name in plan.int8 and unit.weighted]
    drawn = {unit.name: index for index, unit in enumerate(layers)}

    def draw(name: str, sample: int, total: int) -> np.ndarray:
        wanted = min(total, math.ceil(ROWS / len(feeds)))
        generator = np.random.default_rng((seed, drawn[name], sample))
        return np.sort(generator.choice(total, wanted, replace=False))

    targets = _targets(model, layers, feeds, draw, config)
    replay = Replay(model, plan, choices, feeds, config)
    account = []
    for done, unit in enumerate(plan.units):
        if unit.name in drawn:
            rows = [_rows(unit, replay, sample, draw, targets[unit.name][sample].shape) for sample in range(len(feeds))]
            x = np.concatenate([found for found, _ in rows], axis=1)
            y = np.concatenate([targets[unit.name][s].output for s in range(len(feeds))], axis=0)
            codes, mended = _mend(unit, plan, choices, x, y)
            choices.codes[unit.name] = codes
            account.append(mended)
            del targets[unit.name]
        replay.run(unit)
        progress("correcting", done + 1, len(plan.units))
    return dict(choices.codes), account


@dataclass(frozen=True)
class _Target:
    output: np.ndarray
    shape: tuple[int, ...]


def _targets(model, layers, feeds, draw, config):  # type: ignore[no-untyped-def]
    names = {unit.name: str(_linear_output(unit).name) for unit in layers}

    def sample(index: int, found: dict[str, np.ndarray]) -> dict[str, _Target]:
        result = {}
        for unit in layers:
            array = _as_grid(unit, found[names[unit.name]])
            positions = draw(unit.name, index, math.prod(array.shape[1:]))
            result[unit.name] = _Target(array.reshape(array.shape[0], -1)[:, positions].T.copy(), array.shape[1:])
        return result

    tapped = tap(model, names.values(), only=True)
    per_sample = list(run_all(tapped, feeds, sample, config))
    return {unit.name: [found[unit.name] for found in per_sample] for unit in layers}


def _linear_output(unit: Unit) -> ir.Value:
    """The output of the layer itself, its bias included, before any activation."""
    place = bias_of(unit)
    return (place[0] if place is not None else unit.anchor).outputs[0]


def _as_grid(unit: Unit, array: np.ndarray) -> np.ndarray:
    """One sample's activation as (channels, *positions)."""
    if unit.op == "Conv":
        return array[0]
    return np.moveaxis(array.reshape(-1, array.shape[-1]), -1, 0)


def _rows(unit: Unit, replay: Replay, sample: int, draw, shape):  # type: ignore[no-untyped-def]
    array = _as_grid(unit, replay.value(str(unit.inputs[0].name), sample))
    positions = draw(unit.name, sample, math.prod(shape))
    if unit.op != "Conv":
        return array[:, positions].T[None], positions
    return patches.unfold(array, _window(unit, array.shape[1:], shape), positions, shape), positions


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


def _mend(unit: Unit, plan: Plan, choices: Choices, x: np.ndarray, y: np.ndarray) -> tuple[Codes, Mended]:
    weight = constant(unit.anchor.inputs[1])
    assert weight is not None
    groups = x.shape[0]
    shaped = _to_matrix(unit, weight, groups)
    rows = solve.centred(x, y.reshape(len(y), groups, -1).transpose(1, 0, 2))
    outputs = groups * shaped.shape[1]
    entry = float(choices.encodings[str(unit.inputs[0].name)].scale)
    top = 2 ** (choices.weight_bits - 1) - 1

    def scales_of(matrix: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        flat = matrix.reshape(outputs, -1)
        return weight_scales(flat, 0, bits=choices.weight_bits, bias=bias, input_scale=entry)

    plain = scales_of(shaped, None).reshape(groups, -1)
    nearest = np.clip(np.rint(shaped / plain[:, :, None]), -top, top) * plain[:, :, None]
    fitted, ridge = solve.refit(shaped.astype(np.float64), rows)
    scales = scales_of(fitted, solve.bias(rows, fitted).reshape(-1)).reshape(groups, -1).astype(np.float64)
    codes = solve.round_codes(fitted, solve.hessian(rows), scales, top)
    real = codes * scales[:, :, None]
    bias = solve.bias(rows, real).reshape(-1).astype(np.float32)
    mended = Mended(unit.name, solve.output_error(rows, nearest), solve.output_error(rows, real), ridge)
    has_place = bias_of(unit) is not None or unit.op != "MatMul"
    return (
        Codes(
            _from_matrix(unit, codes, weight.shape), scales.reshape(-1).astype(np.float32), bias if has_place else None
        ),
        mended,
    )


def _to_matrix(unit: Unit, weight: np.ndarray, groups: int) -> np.ndarray:
    """The weights as (groups, outputs of a group, inputs of an output)."""
    rows = weight if weight_axis(unit) == 0 else weight.T
    return rows.reshape(groups, rows.shape[0] // groups, -1)


def _from_matrix(unit: Unit, codes: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if weight_axis(unit) == 0:
        return codes.reshape(shape)
    return np.ascontiguousarray(codes.reshape(shape[1], shape[0]).T)
