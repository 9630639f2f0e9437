"""What a model costs: parameters and multiply-accumulates as the contract counts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxslim.core.errors import OnnxslimError, UsageError
from onnxslim.data.sources import open_samples
from onnxslim.graph.cost import compute_cost
from onnxslim.model_io import model_file
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import check_loads
from tests.support.channel_graphs import MICROSOFT
from tests.support.channel_graphs import model as net
from tests.support.quantize_graphs import model as quantize_model
from tests.support.quantize_graphs import weight
from tests.support.small_graphs import CONV, model


def test_macs_follow_the_contract_with_free_dimensions_at_their_defaults() -> None:
    found = compute_cost(model(CONV))
    assert found.params == 216 + 8
    assert found.macs == 216 * 112 * 112
    assert compute_cost(model(CONV), {"height": 32, "width": 32}).macs == 216 * 16 * 16


def test_a_dimension_nobody_has_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--dim depth"):
        compute_cost(model(CONV), {"depth": 3})


def test_scales_and_zero_points_are_no_parameters() -> None:
    made = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2] x) => (float[1,2] y) <float[2,2] w = {1,2,3,4}, float s = {0.5}, uint8 z = {3}> {
      q = QuantizeLinear(x, s, z)
      d = DequantizeLinear(q, s, z)
      y = MatMul(d, w)
    }""")
    assert compute_cost(made).params == 4


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [("mobilenet_v2", 3_487_886, 300_774_272), ("cifar10_resnet56", 850_988, 125_485_696)],
)
def test_real_models_count_as_published(zoo: Path, name: str, params: int, macs: int) -> None:
    found = compute_cost(model_file.load(zoo / f"{name}.onnx"))
    assert (found.params, found.macs) == (params, macs)
    assert not found.unknown


def test_costs_are_read_without_touching_the_model() -> None:
    made = model(CONV)
    before = model_file.to_bytes(made)
    compute_cost(made)
    assert model_file.to_bytes(made) == before
    assert np.array_equal(made.graph.initializers["w"].const_value.numpy().ravel(), np.ones(216))  # type: ignore[union-attr]


def test_layers_behind_an_lstm_with_an_int8_kernel_are_counted() -> None:
    made = net(
        """l = com.microsoft.DynamicQuantizeLSTM<hidden_size=8>(x, w, r, , , , , , ws, wz, rs, rz) s = Squeeze(l, one)
        y = MatMul(s, v)""",
        {
            "w": np.ones((1, 6, 32), np.int8), "r": np.ones((1, 8, 32), np.int8), "one": [1], "v": (8, 3),
            **{name: np.ones(1, np.float32) for name in ("ws", "rs")}, **{n: np.zeros(1, np.int8) for n in ("wz", "rz")},
        },
        inputs="float[5,1,6] x", outputs="float[5,1,3] y", imports=MICROSOFT,
    )  # fmt: skip
    found = compute_cost(made)
    assert (found.macs, found.unknown) == (5 * 8 * 3, ())
    assert found.params == 6 * 32 + 8 * 32 + 8 * 3
    assert "DynamicQuantizeLSTM" in {node.op_type for node in made.graph}


@pytest.mark.parametrize("text", ["uint2:64", "uint4:32", "int8:32"])
def test_a_decoder_in_blocks_counts_as_the_one_that_it_was_made_from(text: str) -> None:
    """Its table too, whose op hides the shapes of everything behind it; scales do not count."""
    graph = "g (int64[n] ids) => (float[n,50] y) { e = Gather(t, ids) a = MatMul(e, v) b = Relu(a) y = MatMul(b, w) }"
    made = quantize_model(graph, t=weight(50, 64), v=weight(64, 64), w=weight(64, 50))
    options = QuantizeOptions(weights="mixed", weight_formats={text: ()}, placement="static")
    try:
        result, _ = quantize(made, open_samples({"ids": np.arange(8)}, made), options)
        check_loads(result)
    except OnnxslimError as error:
        pytest.skip(f"this runtime does not run {text}: {error.message}")
    assert "GatherBlockQuantized" in {node.op_type for node in result.graph}
    before, after = compute_cost(made), compute_cost(result)
    assert (after.params, after.macs, after.unknown) == (before.params, before.macs, ())
