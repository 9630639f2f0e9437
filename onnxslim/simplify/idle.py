"""Channels that no output depends on, or that repeat another: removed where that is exact, and no slower.

The work is done by :mod:`onnxslim.channels.lossless`; here is when it is tried and whether its result is taken.
Kernels work on blocks of channels: EfficientNet-Lite0 without its 65 idle channels (1152 become 1147) takes 2.6 times
as long. So the result is taken only when every layer that filled its blocks still does.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from onnxslim import io
from onnxslim.account import Account
from onnxslim.channels.lossless import remove_lossless
from onnxslim.graph import shapes
from onnxslim.simplify.nested import walk
from onnxslim.simplify.rounding import difference, runs_small, tolerance
from onnxslim.simplify.size import estimate

#: Channels in a block of onnxruntime's float kernels (NCHWc) and its int8 ones, at most.
BLOCK = 16

#: Ops whose second input is a weight with channels.
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")

#: Bytes of weights up to which channels are looked at: every weight is read several times, and pruning does it anyway.
MAX_WEIGHTS = 64_000_000


def without_idle_channels(model: ir.Model, nbytes: int, account: Account) -> ir.Model:
    """``model`` itself, or a copy with fewer channels; ``account`` tells which, or why not."""
    weights = [node.inputs[1] for node in walk(model.graph) if node.op_type in LAYERS and not node.domain]
    if nbytes > MAX_WEIGHTS or not any(weight is not None and weight.is_initializer() for weight in weights):
        return model
    shared = _shared(weights)
    if shared is not None:
        account.decline(model.graph.name or "model", f"idle channels are not looked for: layers share {shared}")
        return model
    if not runs_small(model):
        return model
    lean = io.clone(model)
    removed = remove_lossless(lean)
    if not removed.changed:
        return model
    ragged = _ragged(model, lean)
    if ragged is not None:
        why = f"{ragged}, which is slower"
    elif estimate(lean) > estimate(model):
        why = "weights that layers share would be stored apart"
    else:
        gap = difference(model, lean, nbytes)
        if gap is not None and gap <= tolerance(model):
            for what, times in removed.changed.items():
                account.count(what, int(times))
            return lean
        why = "the model does not run on random inputs" if gap is None else f"an output would change by {gap:.1e}"
    account.decline(model.graph.name or "model", f"idle channels stay: {why}")
    return model


def _shared(weights: Iterable[ir.Value | None]) -> str | None:
    """The first weight that several layers read: fewer channels in one of them would store it twice."""
    return next((str(w.name) for w in weights if w is not None and w.is_initializer() and len(w.uses()) > 1), None)


def _ragged(model: ir.Model, lean: ir.Model) -> str | None:
    """The first layer that would no longer fill its blocks of channels, in words."""
    before = {node.outputs[0].name: _channels(node) for node in model.graph}
    for node in lean.graph:
        for was, now in zip(before.get(node.outputs[0].name, ()), _channels(node), strict=False):
            if was % BLOCK == 0 and now % BLOCK:
                return f"{node.name} would have {now} channels for {was}"
    return None


def _channels(node: ir.Node) -> tuple[int, ...]:
    if node.op_type not in LAYERS:
        return ()
    return (shapes.static(node.inputs[1]) or ())[:2]
