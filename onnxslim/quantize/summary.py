"""The account of a statically quantised model: what the runtime made of it, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import onnx_ir as ir

from onnxslim.account import Account
from onnxslim.quantize import fused
from onnxslim.quantize.correct import Mended
from onnxslim.quantize.options import QuantizeOptions
from onnxslim.quantize.plan import Plan, Unit
from onnxslim.runtime.session import SessionConfig


def summarise(
    account: Account,
    result: ir.Model,
    found: Sequence[Unit],
    chosen: Plan,
    config: SessionConfig,
    options: QuantizeOptions,
    mended: Sequence[Mended],
) -> None:
    """Fill ``account`` with the layers of ``result`` as the runtime runs them, and the placement for a recipe."""
    ran = fused.fusion(result, found, chosen.int8, config)
    account.count("layers in int8", ran.int8)
    account.count("layers in float", len(ran.layers) - ran.int8)
    account.count("quantised tensors", len(chosen.tensors))
    for layer in ran.layers:
        if layer.why is not None:
            account.decline(layer.name, layer.why)
    able = {unit.name for unit in found if unit.why_float is None}
    account.details["placement"] = {
        "how": "recorded" if options.float_units is not None else options.placement,
        "float": sorted(able - chosen.int8),
    }
    errors = {layer.name: layer.error for layer in mended}
    if account.details["mended"]["way"] == "mended":
        account.count("mended layers", len(mended))
        account.count("layers rounded with error feedback", sum(layer.fed_back for layer in mended))
    else:
        account.decline("weights and biases", "the outputs would move further with them mended")
    account.details["layers"] = [
        {**vars(layer), "sqnr_db": round(-10 * math.log10(errors[layer.name]), 2) if errors.get(layer.name) else None}
        for layer in ran.layers
    ]
    account.details["surviving"] = [dict(vars(one)) for one in ran.surviving]
    account.details["runtime_ops"] = ran.ops
