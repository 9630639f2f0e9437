"""Weights and biases mended layer by layer, each with everything before it already quantised.

For every weighted int8 layer, in order, in one replay of the network: rows of its quantised input and the float model's
output at the same places are sampled, and the bias is set so that the typical output behind the activation is right
(Nagel et al., Data-free quantization, 2019). Where rounding the weights adds a good part of the layer's error, or an output
has few inputs, they are rounded with error feedback for those inputs instead (Frantar et al., GPTQ, 2022). What comes out
is the same graph with other numbers in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from onnxslim.graph.constants import constant
from onnxslim.progress import Progress, silent
from onnxslim.quantize import pairs, patches, solve
from onnxslim.quantize.encode import TOP, weight_scales
from onnxslim.quantize.insert import Choices, Codes, bias_of, weight_axis
from onnxslim.quantize.patches import Window
from onnxslim.quantize.plan import Plan, Unit
from onnxslim.quantize.replay import Replay
from onnxslim.quantize.taps import Targets, Wanted, targets
from onnxslim.runtime.memory import give_back
from onnxslim.runtime.session import SessionConfig

#: Rows that a layer is fitted to, spread over the samples: at least so many and at most so many; twice the inputs of an
#: output where that lies between, for error feedback wants more rows than unknowns.
FEWEST, MOST = 1024, 2048
#: Error feedback is worth its time where rounding to nearest makes at least this share of the layer's error.
SHARE = 0.1
#: Outputs with at most so many inputs are always rounded so, and get the best of several scales.
FEW = 32


@dataclass(frozen=True)
class Mended:
    """What mending one layer did.

    Attributes:
        name: The layer.
        fed_back: Whether its weights were rounded with error feedback.
        error: Relative squared error of its output, means apart, with everything before it quantised.
    """

    name: str
    fed_back: bool
    error: float


def correct(
    model: ir.Model,
    plan: Plan,
    choices: Choices,
    feeds: Sequence[Mapping[str, np.ndarray]],
    config: SessionConfig,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> tuple[Choices, list[Mended]]:
    """The choices with codes and a bias for every weighted int8 unit of ``plan``, and what that did.

    Args:
        model: The float model that ``plan`` refers to.
        plan: What is int8.
        choices: The encodings.
        feeds: Single samples, some dozens; the activations of all of them are held as 8-bit codes.
        config: Where to run.
        seed: Of the sampled positions.
        progress: Called after each unit.
    """
    feeds = list(feeds)
    layers = [unit for unit in plan.units if unit.name in plan.int8 and unit.weighted]
    names = {unit.name: str(_linear_output(unit).name) for unit in layers}
    wanted = {names[unit.name]: Wanted(unit.op == "Conv", math.ceil(_enough(unit) / len(feeds))) for unit in layers}
    found = targets(model, wanted, feeds, config, seed=seed)
    give_back()
    own, account = replace(choices, codes={}), []
    # later layers must see earlier ones mended, so the replay reads the very codes that are filled here
    replay = Replay(model, plan, own, feeds, config)
    for done, unit in enumerate(plan.units):
        if unit.name in names:
            at = found.pop(names[unit.name])
            x = np.concatenate([_rows(unit, replay, sample, at) for sample in range(len(feeds))], axis=1)
            own.codes[unit.name], mended = _mend(unit, own, x, at.outputs())
            account.append(mended)
        replay.run(unit)
        if done % 4 == 0:
            give_back()
        progress("correcting", done + 1, len(plan.units))
    return own, account


def _enough(unit: Unit) -> int:
    weight = constant(unit.anchor.inputs[1])
    assert weight is not None
    return int(np.clip(2 * weight.size // weight.shape[weight_axis(unit)], FEWEST, MOST))


def _linear_output(unit: Unit) -> ir.Value:
    """The output of the layer itself, its bias included, before any activation."""
    place = bias_of(unit)
    return (place[0] if place is not None else unit.anchor).outputs[0]


def _rows(unit: Unit, replay: Replay, sample: int, targets: Targets) -> np.ndarray:
    """What the quantised layer multiplies at the targets' positions: (groups, p, inputs of an output)."""
    name, positions = str(unit.inputs[0].name), targets.positions[sample]
    if unit.op != "Conv":
        array = replay.held(name, sample)
        rows = array.reshape(-1, array.shape[-1])[positions]
        return replay.floats(name, rows)[None]
    array = replay.held(name, sample)[0]
    window = _window(unit, array.shape[1:], targets.grids[sample])
    return patches.unfold(array, window, positions, targets.grids[sample], lambda codes: replay.floats(name, codes))


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


def _mend(unit: Unit, choices: Choices, x: np.ndarray, y: np.ndarray) -> tuple[Codes, Mended]:
    weight = constant(unit.anchor.inputs[1])
    assert weight is not None
    groups = x.shape[0]
    shaped = _to_matrix(unit, weight, groups)
    rows = solve.rows(x, y.reshape(len(y), groups, -1).transpose(1, 0, 2))
    entry = float(choices.encodings[str(unit.inputs[0].name)].scale)
    place = bias_of(unit)
    given = constant(place[0].inputs[place[1]]) if place is not None else None
    own = np.zeros(shaped.shape[:2]) if given is None else given.reshape(shaped.shape[:2])
    # room for the bias to move without overflowing int32
    bound = 2.0 * np.abs(own).reshape(-1) + np.abs(rows.y_mean).reshape(-1)
    scales = weight_scales(weight, weight_axis(unit), bias=bound, input_scale=entry, narrow=choices.narrow)
    codes, scales, mended = _round(unit, choices, rows, shaped, scales.reshape(groups, -1), weight.shape)
    bias = None
    if place is not None or unit.op != "MatMul":
        bias = solve.bias(rows, codes * scales[:, :, None], own, _kept(unit, choices)).reshape(-1).astype(np.float32)
    return Codes(_from_matrix(unit, codes, weight.shape), scales.reshape(-1), bias), mended


def _round(
    unit: Unit, choices: Choices, rows: solve.Rows, w: np.ndarray, least: np.ndarray, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, Mended]:
    """Codes (g, o, d) and scales (g, o) of the weights ``w``, which are stored in ``shape`` and need scales of ``least``."""
    nearest = np.clip(np.rint(w / least[:, :, None]), -TOP, TOP).astype(np.int8)
    error, unrounded = solve.output_errors(rows, nearest * least[:, :, None], w)
    few = w.shape[2] <= FEW
    if not few and unrounded >= (1.0 - SHARE) * error:
        return nearest, least, Mended(unit.name, False, error)
    gram, scales = solve.gram(rows), least
    if few:
        codes, scales = solve.few_codes(w, gram, least, TOP)
    else:
        codes = solve.round_codes(w, gram, least.astype(np.float64), TOP)
    if choices.narrow:
        # error feedback moves codes by more than a step, so a pair may saturate again
        wide = pairs.saturates(_from_matrix(unit, codes, shape), weight_axis(unit)).reshape(least.shape)
        codes, scales = np.where(wide[:, :, None], nearest, codes), np.where(wide, least, scales)
    (error,) = solve.output_errors(rows, codes * scales[:, :, None])
    return codes, scales, Mended(unit.name, True, error)


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
