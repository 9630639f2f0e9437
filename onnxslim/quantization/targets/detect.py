"""Which of the CPU's tables this machine runs by: asked of the kernels, not of the CPU's name.

x86 without VNNI adds pairs of uint8 · int8 products in 16 bits, where they saturate (``numerics/saturation.py``).
Feature flags are spelled differently by every system and say nothing about the runtime's build, so one product that
saturates if anything does is run and looked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from onnxslim.quantization.targets.base import Target
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.devices.machine_figures import name_processor
from onnxslim.runtime.providers import PROVIDERS
from onnxslim.runtime.session import SessionConfig, open_timed_session

_PROBE_SIZE = 64


def detect_target(config: SessionConfig) -> Target:
    """The target that ``config``'s sessions are."""
    candidates = [t for t in TARGETS.values() if t.runs_on(config.provider_name) and not t.any_machine]
    candidates = [target for target in candidates if target.machines] or candidates
    if len(candidates) == 1:
        return candidates[0]
    saturates = has_saturating_kernels(config)
    return next(target for target in candidates or TARGETS.values() if target.saturating_pairs == saturates)


def explain_unmeasured(target: Target, config: SessionConfig, available: Sequence[str]) -> str | None:
    """Why nothing here says how fast the result is on ``target``, or None where it runs there.

    Args:
        target: What the model will run on.
        config: Where this command ran.
        available: The installed onnxruntime's execution providers.
    """
    provider = PROVIDERS[target.provider][0]
    if provider not in available:
        return f"the gain on {target.provider} is expected, not verified here: this onnxruntime has no {provider}"
    if config.provider_name != target.provider:
        where = f"this ran on {config.provider} (--provider {target.provider} measures it)"
        return f"the gain on {target.provider} was not measured: {where}"
    if (machine := explain_other_machine(target)) is not None:
        elsewhere = f"{machine} (--on HOST:PORT measures it on another)"
        return f"the gain on {target.name} is expected, not verified here: {elsewhere}"
    return None


def explain_other_machine(target: Target) -> str | None:
    """What models are timed on, where that is another kind of machine than ``target`` names; else None."""
    if not target.runs_on(target.provider):
        return f"this machine is {name_processor()}"
    if target.saturating_pairs and not target.any_machine and not has_saturating_kernels():
        return "no product saturates on this machine"
    return None


def has_saturating_kernels(config: SessionConfig | None = None) -> bool:
    """Whether the runtime's integer product of 255 and 127 goes wrong here."""
    x = ir.val("x", ir.DataType.UINT8, (_PROBE_SIZE, _PROBE_SIZE))
    tensor = ir.tensor(np.full((_PROBE_SIZE, _PROBE_SIZE), 127, np.int8), name="w")
    w = ir.Value(name="w", const_value=tensor, shape=ir.Shape((_PROBE_SIZE, _PROBE_SIZE)), type=ir.TensorType(tensor.dtype))
    node = ir.node("MatMulInteger", [x, w])
    y = node.outputs[0]
    y.name, y.type, y.shape = "y", ir.TensorType(ir.DataType.INT32), ir.Shape((_PROBE_SIZE, _PROBE_SIZE))
    graph = ir.Graph([x], [y], nodes=[node], initializers=[w], opset_imports={"": 13}, name="saturation")
    session = open_timed_session(ir.Model(graph, ir_version=8), (config or SessionConfig()).with_(provider="cpu"))
    products = session.run({"x": np.full((_PROBE_SIZE, _PROBE_SIZE), 255, np.uint8)})["y"]
    return bool(np.any(products != 255 * 127 * _PROBE_SIZE))
