"""The simulated model loses what the written one does, and what costs outputs too much stays float, and no more."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.quantization.calibration import observe, range_methods
from onnxslim.quantization.evaluation.simulation import Simulation
from onnxslim.quantization.numerics import affine
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.qdq.fusion_groups import find_fusion_groups, make_plan
from onnxslim.quantization.qdq.insert import QuantizationParams, insert_qdq
from onnxslim.quantization.qdq.placement import find_int8_capable
from onnxslim.quantization.targets.registry import TARGETS
from onnxslim.runtime.session import SessionConfig
from tests.support.quantize_graphs import model, samples, weight

CONFIG = SessionConfig()


def network() -> ir.Model:
    text = """g (float[1,16,8,8] x) => (float[1,10] y) {
        c = Conv <pads = [1,1,1,1]> (x, w)
        r = Relu (c)
        d = Conv <pads = [1,1,1,1]> (r, u)
        s = Relu (d)
        p = GlobalAveragePool (s)
        f = Flatten (p)
        y = Gemm (f, v)
    }"""
    found = model(text, w=weight(32, 16, 3, 3), u=weight(32, 32, 3, 3), v=weight(32, 10))
    return prepare_model(found)[0]


@pytest.mark.parametrize("apart", [(), ("Gemm",), ("d",)])
def test_what_is_simulated_is_what_is_written(apart: tuple[str, ...]) -> None:
    found = network()
    feeds = list(samples(found, 16, 8, 8).batches(1))
    names = [node.name for node in found.graph if node.op_type in apart or node.outputs[0].name in apart]
    parts = find_fusion_groups(found, TARGETS["cpu"], [str(name) for name in names])
    plan = make_plan(parts, find_int8_capable(parts))
    assert len([unit for unit in plan.units if unit.name not in plan.int8]) == len(names)
    seen = observe.collect_statistics(found, feeds, list(plan.tensors), CONFIG)
    # one narrow method and one wide one, so that parameters of the first would show in results of the second
    methods: dict[str, range_methods.RangeMethod] = {
        "wide": lambda h: (8 * h.low, 8 * h.high),
        "narrow": range_methods.RANGE_METHODS["averaged"],
    }
    encodings = {
        name: {
            tensor: affine.compute_activation_encoding(*method(seen.build_histogram(group)))
            for group in plan.list_tensor_groups().values()
            for tensor in group
        }
        for name, method in methods.items()
    }
    yardstick = ReferenceOutputs(found, feeds, CONFIG)
    simulation = Simulation(found, plan, encodings["wide"], False, yardstick, CONFIG)
    for name, chosen in encodings.items():
        lost = yardstick.errors(insert_qdq(found, plan, QuantizationParams(chosen)))["y"]
        assert simulation.measure_errors(chosen)["y"] == pytest.approx(lost, rel=1e-3), name
