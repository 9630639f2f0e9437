"""Channels that no output depends on, or that repeat another: removed where that is exact, and no slower.

The work is done by :mod:`onnxslim.channels.lossless.removal`; here is when it is tried and whether its result is taken.
Kernels work on blocks of channels: EfficientNet-Lite0 without its 65 idle channels (1152 become 1147) takes 2.6 times
as long. So the result is taken only when every layer that filled its blocks still does.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from onnxslim.channels.lossless.removal import remove_lossless
from onnxslim.core.step_report import StepReport
from onnxslim.graph import shapes
from onnxslim.graph.cost import compute_cost
from onnxslim.graph.layers import LAYER_OPS
from onnxslim.graph.traversal import walk
from onnxslim.model_io import model_file
from onnxslim.simplification.file_size import estimate_bytes
from onnxslim.simplification.rounding_check import can_run_small, get_tolerance, measure_difference

#: What it is called where rules are left out by name.
IDLE_CHANNELS = "idle-channels"

#: Channels in a block of onnxruntime's float kernels (NCHWc) and its int8 ones, at most.
CHANNEL_BLOCK = 16

#: Bytes of weights up to which channels are looked at: every weight is read several times, and pruning does it anyway.
MAX_WEIGHT_BYTES = 64_000_000


@dataclass(frozen=True)
class SimplifyDecision:
    """What a simplification did, for whoever goes on from it.

    Attributes:
        idle_params: The share of the parameters that idle channels held, which are gone: whoever is asked for a share of the
            model counts them.
        idle_macs: That of the multiplications.
        rewrites: Every rewrite in order, by rule and node (:func:`~onnxslim.simplification.rule.name_rewrite`).
    """

    idle_params: float = 0.0
    idle_macs: float = 0.0
    rewrites: tuple[str, ...] = ()

    @property
    def took_channels(self) -> bool:
        """Whether there were any."""
        return self.idle_params > 0 or self.idle_macs > 0

    def get_idle_share(self, of: str) -> float:
        """What they held of the ``params`` or the ``macs``."""
        return self.idle_macs if of == "macs" else self.idle_params


def remove_idle_channels(model: ir.Model, nbytes: int, report: StepReport) -> ir.Model:
    """``model`` itself, or a copy with fewer channels; ``report`` tells which, or why not, and decides what they held."""
    weights = [node.inputs[1] for node in walk(model.graph) if node.op_type in LAYER_OPS and not node.domain]
    if nbytes > MAX_WEIGHT_BYTES or not any(weight is not None and weight.is_initializer() for weight in weights):
        return model
    for weight in weights:
        # fewer channels in one of the layers that read it would store it twice
        if weight is not None and weight.is_initializer() and len(weight.uses()) > 1:
            report.skip(model.graph.name or "model", f"idle channels are not looked for: layers share {weight.name}")
            return model
    if not can_run_small(model):
        return model
    reduced = model_file.clone(model)
    removed = remove_lossless(reduced)
    if not removed.changed:
        return model
    partial_block = _find_partial_block(model, reduced)
    if partial_block is not None:
        reason = f"{partial_block}, which is slower"
    elif estimate_bytes(reduced) > estimate_bytes(model):
        reason = "weights that layers share would be stored apart"
    else:
        gap = measure_difference(model, reduced, nbytes)
        if gap is not None and gap <= get_tolerance(model):
            for what, times in removed.changed.items():
                report.count(what, int(times))
            before, after = compute_cost(model), compute_cost(reduced)
            report.decision = SimplifyDecision(
                1 - after.params / max(before.params, 1), 1 - after.macs / max(before.macs, 1)
            )
            return reduced
        reason = "the model does not run on random inputs" if gap is None else f"an output would change by {gap:.1e}"
    report.skip(model.graph.name or "model", f"idle channels stay: {reason}")
    return model


def _find_partial_block(model: ir.Model, reduced: ir.Model) -> str | None:
    """The first layer that would no longer fill its blocks of channels, in words."""
    before = {node.outputs[0].name: _channel_counts(node) for node in model.graph}
    for node in reduced.graph:
        for was, now in zip(before.get(node.outputs[0].name, ()), _channel_counts(node), strict=False):
            if was % CHANNEL_BLOCK == 0 and now % CHANNEL_BLOCK:
                return f"{node.name} would have {now} channels for {was}"
    return None


def _channel_counts(node: ir.Node) -> tuple[int, ...]:
    if node.op_type not in LAYER_OPS:
        return ()
    return (shapes.get_static_dims(node.inputs[1]) or ())[:2]
