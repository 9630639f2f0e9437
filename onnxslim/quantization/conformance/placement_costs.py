"""A target's cost model as a device has it: what its layers and conversions take there, measured once a machine.

The tables of ``targets/`` are of the machines that they were measured on. Where models are timed on another, its own
figures take their place: they decide which layers are tried together in int8, and what a conversion between two costs.
"""

from __future__ import annotations

import logging
import statistics
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from onnxslim.core.converter import JSON
from onnxslim.core.errors import UsageError
from onnxslim.graph.cost import compute_cost
from onnxslim.quantization.conformance.microbenchmarks import LayerFactory, make_convolutions, make_silu
from onnxslim.quantization.conformance.toy_models import ToyModel
from onnxslim.quantization.evaluation.placement_profiling import BOUNDARY_OPS
from onnxslim.quantization.targets.base import CostModel, Target
from onnxslim.runtime.devices.machine_figures import identify_machine, is_this_machine, keep_figures, read_figures
from onnxslim.runtime.node_profile import NodeTime, measure_node_times
from onnxslim.runtime.session import SessionConfig, open_timed_session
from onnxslim.runtime.timing import interleave

logger = logging.getLogger(__name__)

#: Of these figures, in the user's cache.
KIND = "placement"
#: What each price of a multiply-accumulate is read from.
_MAC_LAYERS: dict[str, LayerFactory] = {
    "dense_mac": make_convolutions(64, 64, 28, 3),
    "misaligned_mac": make_convolutions(3, 32, 112, 3),
    "depthwise_mac": make_convolutions(96, 96, 28, 3, group=96),
    "misaligned_depthwise_mac": make_convolutions(100, 100, 28, 3, group=100),
    "grouped_mac": make_convolutions(64, 64, 28, 3, group=4),
}
#: How many inputs the ops have that have prices of their own, and their attributes.
_ELEMENT_OPS: dict[str, tuple[int, dict[str, Any]]] = {
    "Sigmoid": (1, {}),
    "LeakyRelu": (1, {}),
    "Mul": (2, {}),
    "Add": (2, {}),
    "Concat": (2, {"axis": 1}),
}
#: Of what an op without weights is timed on: long enough for a profile that counts microseconds.
_ELEMENT_SHAPE = (1, 64, 112, 112)
_SILU_CHANNELS, _SILU_SIZE, _SILU_COUNT = 64, 112, 3
_CONVERSIONS = ("QuantizeLinear", "DequantizeLinear")
_RUNS, _CHAIN, _CHAIN_SECONDS = 20, 65, 0.2


def get_cost_model(target: Target, config: SessionConfig, placement: str) -> CostModel:
    """The cost model of ``target``: its table, or where times are ``measured`` on another kind of machine that one's own
    figures, which are measured there the first time and kept by processor, runtime and threads.
    """
    if placement == "static" or is_this_machine() or not target.runs_on(config.provider_name):
        return target.cost_model.at_threads(config.threads)
    machine = {**identify_machine(), "threads": str(config.threads), "target": target.name}
    try:
        return JSON.read(read_figures(KIND, machine), CostModel, KIND)
    except UsageError:  # nobody did, or an older version of this
        measured = measure_cost_model(target.cost_model, config)
        logger.info("measured what layers take on %s: %s", machine["cpu"], measured)
        keep_figures(KIND, machine, JSON.unstructure(measured))
        return measured


def measure_cost_model(base: CostModel, config: SessionConfig) -> CostModel:
    """``base`` with the nanoseconds of where models are timed; what is not measured is brought to their scale.

    The profile of each layer is read, without the conversions around it.
    """
    macs = {name: _time_layer(make_layer, config) for name, make_layer in _MAC_LAYERS.items()}
    scale = macs["dense_mac"][0] / base.dense_mac[0]
    profiles = {op: _profile_element_op(op, config) for op in _ELEMENT_OPS}
    elements = {op: (_sum_kernels(one["float"]), _sum_kernels(one["int8"])) for op, one in profiles.items()}
    size = float(np.prod(_ELEMENT_SHAPE))
    by_op = {op: (a / size / n, b / size / n) for op, (a, b) in elements.items() if a and b for n in [_count_outputs(op)]}
    growth = [
        statistics.median([prices[i] / base.get_element(op)[i] for op, prices in by_op.items()] or [scale]) for i in (0, 1)
    ]
    conversions = [t.seconds * 1e9 / size for t in profiles["Add"]["int8"].values() if t.op in _CONVERSIONS]
    convert = statistics.fmean(conversions) if conversions else scale * base.convert
    mac_prices: dict[str, Any] = {
        name: prices if all(prices) else _scale(getattr(base, name), scale) for name, prices in macs.items()
    }
    return replace(
        base,
        **mac_prices,
        element=(growth[0] * base.element[0], growth[1] * base.element[1]),
        element_by_op={op: by_op.get(op, _scale(prices, scale)) for op, prices in base.element_by_op.items()},
        float_silu=None if base.float_silu is None else _time_silu(config) or scale * base.float_silu,
        int8_linear_weight=scale * base.int8_linear_weight,
        convert=convert,
        relayout=base.relayout * convert / base.convert,
        node_overhead=_time_overhead(config),
    )


def _scale(prices: tuple[float, float], factor: float) -> tuple[float, float]:
    return factor * prices[0], factor * prices[1]


def _count_outputs(op: str) -> int:
    """How many times as many elements an op gives as one of its inputs has."""
    return 2 if op == "Concat" else 1


def _time_layer(make_layer: LayerFactory, config: SessionConfig) -> tuple[float, float]:
    """Nanoseconds of a multiply-accumulate in float and in int8."""
    shape, models = make_layer()
    macs = compute_cost(models["float"]).macs
    float_ns, int8_ns = (_sum_kernels(_profile(models[key], shape, config)) / macs for key in ("float", "int8"))
    return float_ns, int8_ns


def _time_silu(config: SessionConfig) -> float:
    """Nanoseconds of an element of x * Sigmoid(x) in float."""
    shape, models = make_silu(_SILU_CHANNELS, _SILU_SIZE)()
    return _sum_kernels(_profile(models["float"], shape, config)) / (_SILU_COUNT * float(np.prod(shape)))


def _profile_element_op(op: str, config: SessionConfig) -> dict[str, dict[str, NodeTime]]:
    inputs, attributes = _ELEMENT_OPS[op]
    profiles = {}
    for key in ("float", "int8"):
        toy = ToyModel(*_ELEMENT_SHAPE)
        # another tensor beside the input, so that nobody folds two equal ones
        other = toy.random(*_ELEMENT_SHAPE) if inputs > 1 else None
        values = [toy.x, *([] if other is None else [other])]
        if key == "int8":
            values = [toy.qdq(value) for value in values]
        result = toy(op, *values, **attributes)
        profiles[key] = _profile(toy.build(result if key == "float" else toy.qdq(result)), _ELEMENT_SHAPE, config)
    return profiles


def _time_overhead(config: SessionConfig) -> float:
    """Nanoseconds of one more node, by a chain of them on one element."""
    sessions = {}
    for name, count in (("short", 1), ("long", _CHAIN)):
        toy = ToyModel(1)
        value = toy.x
        for _ in range(count):
            value = toy("Sigmoid", value)
        sessions[name] = open_timed_session(toy.build(value), config)
    rounds = interleave(sessions, [{"x": np.zeros(1, np.float32)}], rounds=20, seconds=_CHAIN_SECONDS).rounds
    return max(0.0, float(rounds["long"].min() - rounds["short"].min()) * 1e9 / (_CHAIN - 1))


def _profile(model: ir.Model, shape: tuple[int, ...], config: SessionConfig) -> dict[str, NodeTime]:
    feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    return measure_node_times(model, [feed], config, runs=_RUNS)


def _sum_kernels(times: Mapping[str, NodeTime]) -> float:
    """Nanoseconds of everything but the conversions."""
    return sum(time.seconds for time in times.values() if time.op not in BOUNDARY_OPS) * 1e9
