"""Large linear layers of a static int8 model with weights in 4 bits, where an inference reads each weight once.

The last layer of an image classifier is often a third of the file and a hundredth of the time. onnxruntime's MatMulNBits
reads 4-bit codes as fast as int8 ones there. Rounding to 16 levels would show, so it is done with error feedback for the
inputs that the quantised model gives the layer, and the mean of what is left goes into the bias (Nagel et al., Data-free
quantization, 2019).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.graph.constants import constant
from onnxslim.graph.cost import Cost, cost
from onnxslim.quantize import blocks
from onnxslim.quantize.feeds import Feeds
from onnxslim.quantize.linear import Weight, weights
from onnxslim.quantize.plan import Unit, name_nodes
from onnxslim.quantize.weightonly import multiply
from onnxslim.quantize.write import Writer, drop_unread
from onnxslim.runtime.parallel import Pool
from onnxslim.runtime.session import SessionConfig
from onnxslim.runtime.taps import tap

#: A layer whose weights are a smaller share of the model's saves less than it may cost.
SHARE = 0.05
#: Samples that a layer is fitted to: between them what this many multiply-accumulates pay for.
FEWEST, MOST, WORK = 64, 512, 5e11
#: What the account says of a layer that was written so, and of a model that has none.
WHY = "its weights are in 4 bits"
NONE = f"none holds {SHARE:.0%} of the weights and reads each of them once an inference"


def suited(model: ir.Model, exclude: Sequence[str] = ()) -> list[str]:
    """The linear layers that this is for, by name: each holds a good part of the weights, and reads each weight once.

    Args:
        model: It is not changed.
        exclude: Regular expressions of layers to leave out.
    """
    named = io.clone(model)
    name_nodes(named)
    whole = cost(named)
    return [weight.names[0] for weight in weights(named, Account(""), exclude) if _suited(weight, whole)]


def _suited(weight: Weight, whole: Cost) -> bool:
    if weight.tables or len(weight.linears) != 1 or weight.array.size < SHARE * whole.params:
        return False
    if (bias := weight.linears[0].bias) is not None and constant(bias) is None:
        return False  # there is nothing to put the mean of what is lost into
    own = whole.nodes.get(weight.names[0])
    return own is not None and own.macs == weight.array.size


def apart(found: Sequence[Unit], names: Collection[str]) -> list[Unit]:
    """``found`` with the units ``names`` in float."""
    return [replace(unit, why_float=WHY) if unit.name in names else unit for unit in found]


def write(
    model: ir.Model, names: Collection[str], feeds: Feeds, config: SessionConfig, account: Account
) -> None:
    """Give the linear layers ``names`` weights in 4 bits, in place.

    Args:
        model: Everything else in it is quantised already.
        names: Of :func:`suited`.
        feeds: Calibration data.
        config: Where they run.
        account: Told how many layers.
    """
    chosen = [weight for weight in weights(model, Account("")) if weight.names[0] in names]
    macs = max(cost(model).macs, 1)
    rows = _rows(model, chosen, feeds[: int(min(max(WORK / macs, FEWEST), MOST))], config)
    writer = Writer(model)
    for weight in chosen:
        _write(writer, weight, rows[str(weight.linears[0].activation.name)])
        account.count("linear layers in 4 bits")


def _rows(
    model: ir.Model, chosen: Sequence[Weight], feeds: Feeds, config: SessionConfig
) -> dict[str, np.ndarray]:
    """What the layers are fed with: float32 (rows, K) by tensor."""
    names = list(dict.fromkeys(str(weight.linears[0].activation.name) for weight in chosen))

    def kept(index: int, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.array(outputs[name]).reshape(-1, outputs[name].shape[-1]) for name in names}

    found = list(Pool(tap(model, names, only=True), config).run(feeds, kept))
    return {name: np.concatenate([one[name] for one in found]) for name in names}


def _write(writer: Writer, weight: Weight, x: np.ndarray) -> None:
    """MatMulNBits for the layer of ``weight``, fitted to its inputs ``x`` (rows, K)."""
    linear, mean = weight.linears[0], x.mean(axis=0, dtype=np.float64)
    exact = weight.array if weight.axis == 0 else weight.array.T
    centred = x - mean.astype(np.float32)
    gram = (centred.T @ centred).astype(np.float64) / len(x)
    found = blocks.fitted(exact, gram)
    stem = str(weight.source.name)
    codes, scales = writer.constant(f"{stem}_quantized", found.codes), writer.constant(f"{stem}_scale", found.scales)
    given = constant(linear.bias)
    own = np.zeros(len(exact)) if given is None else np.broadcast_to(given.reshape(-1), len(exact))
    shifted = own + (exact - found.dequantise()) @ mean
    old = linear.bias
    multiply(writer, linear, found, codes, scales, writer.constant(f"{stem}_bias", shifted.astype(np.float32)))
    drop_unread(writer.model, weight.source, *([] if old is None else [old]))
