"""Linear layers in dynamic int8: what fuses, what stays right, what is quantised once, and when this way is taken."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.core.step_report import Account
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic.rewrite import write_dynamic
from onnxslim.quantization.linear_layers import find_weight_matrices
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.qdq.fusion_groups import name_nodes
from onnxslim.quantization.step import quantize
from onnxslim.runtime.optimized_graph import read_optimized_graph
from onnxslim.runtime.session import Session
from onnxslim.simplification.step import simplify
from tests.support.encoder import encoder
from tests.support.paths import SAMPLES

STATIC = QuantizeOptions(placement="static")


def small(**changes: object) -> ir.Model:
    return encoder(**{"layers": 2, "hidden": 64, "heads": 4, "sequence": 16, **changes})  # type: ignore[arg-type]


def data(model: ir.Model, count: int = 8, sequence: int = 16) -> Samples:
    source = model.graph.inputs[0]
    rng = np.random.default_rng(3)
    if source.dtype == ir.DataType.INT64:
        return open_samples({"ids": rng.integers(0, 500, (count, sequence))}, model)
    hidden = int(source.shape[2])  # type: ignore[index,arg-type]
    return open_samples({"x": rng.standard_normal((count, sequence, hidden)).astype(np.float32)}, model)


def sqnr(model: ir.Model, result: ir.Model, samples: Samples) -> float:
    signal = noise = 0.0
    for feed in samples.batches(1):
        wanted, found = (Session(m).run(feed)["y"].astype(np.float64) for m in (model, result))
        signal += float(np.square(wanted).sum())
        noise += float(np.square(wanted - found).sum())
    return 10 * float(np.log10(signal / max(noise, 1e-30)))


@pytest.mark.parametrize(
    ("sequence", "pre_norm", "simplified"),
    [(16, True, True), (16, True, False), ("sequence", False, True)],
)
def test_every_linear_layer_of_an_encoder_becomes_an_int8_kernel(
    sequence: int | str, pre_norm: bool, simplified: bool
) -> None:
    model = small(layers=6, sequence=sequence, pre_norm=pre_norm)
    model = simplify(model)[0] if simplified else model
    samples = data(model)
    result, account = quantize(model, samples, STATIC)
    assert account.details["way"]["way"] == "dynamic"
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph)
    assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] == 36
    assert not {"Gemm", "MatMulInteger", "Cast"} & ops.keys()
    assert account.changed["layers in int8"] == 36
    assert "layers in float" not in account.changed
    assert sqnr(model, result, samples) > 30


def test_the_layers_that_read_one_tensor_quantise_it_once() -> None:
    model = small()
    result, _ = quantize(model, data(model), STATIC)
    entries = Counter(node.inputs[0].name for node in result.graph if node.op_type == "DynamicQuantizeLinear")  # type: ignore[union-attr]
    assert set(entries.values()) == {1}
    assert len(entries) == 2 * 4


def test_an_embedding_table_is_stored_in_rows_of_int8_and_answers_stay() -> None:
    model = small(vocabulary=500)
    samples = data(model)
    result, account = quantize(model, samples, STATIC)
    assert account.changed["embedding tables in int8"] == 1
    assert len(model_file.to_bytes(result)) < len(model_file.to_bytes(model)) / 3
    assert sqnr(model, result, samples) > 30


def tied(transposed_by: str) -> ir.Model:
    rng = np.random.default_rng(0)
    table = (rng.standard_normal((500, 64)) / 8).astype(np.float32)
    layer = {
        "Transpose": "t = Transpose<perm=[1,0]>(table)\n y = MatMul(h, t)",
        "Gemm": "y = Gemm<transB=1>(h, table)",
    }[transposed_by]
    model = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (int64[n] ids) => (float[n,500] y) {{
      h = Gather(table, ids)
      {layer}
    }}""")
    tensor = ir.tensor(table, name="table")
    model.graph.register_initializer(
        ir.Value(name="table", const_value=tensor, shape=ir.Shape(table.shape), type=ir.TensorType(tensor.dtype))
    )
    gather = model.graph[0]
    layer_node = model.graph[1]
    gather.replace_input_with(0, model.graph.initializers["table"])
    layer_node.replace_input_with(0 if transposed_by == "Transpose" else 1, model.graph.initializers["table"])
    return model


@pytest.mark.parametrize("transposed_by", ["Transpose", "Gemm"])
def test_a_table_tied_to_the_output_layer_is_quantised_once_for_both(transposed_by: str) -> None:
    model = tied(transposed_by)
    samples = open_samples({"ids": np.arange(40) % 500}, model)
    result, account = quantize(model, samples, QuantizeOptions(placement="static", activations="dynamic"))
    tensors = [value.const_value for value in result.graph.initializers.values() if value.const_value is not None]
    assert [tensor.dtype for tensor in tensors if tensor.size >= 500 * 64] == [ir.DataType.INT8]
    assert account.changed["layers in int8"] == 1
    assert sqnr(model, result, samples) > 30


def test_a_weight_that_something_else_reads_in_float_is_left_alone_with_the_reason() -> None:
    model = tied("Gemm")
    relu = ir.node("Relu", [model.graph.initializers["table"]], outputs=[ir.val("r", ir.DataType.FLOAT, (500, 64))])
    model.graph.append(relu)
    model.graph.outputs.append(model.graph[-1].outputs[0])
    name_nodes(model)
    account = Account("")
    assert find_weight_matrices(model, account) == []
    reasons = {declined.reason.split(" too")[0] for declined in account.declined}
    assert reasons == {"its weights are read by Relu node_Relu_0"}


BODY = """<ir_version: 8, opset_import: ["" : 17]>
g (float[n,64] x, bool c) => (float[n,64] y) {
  h = MatMul(x, w)
  y = If (c) <
    then_branch = yes () => (float[n,64] a) { a = MatMul(h, w) },
    else_branch = no () => (float[n,64] b) { z = MatMul(h, v)
      b = Relu(z) }
  >
}"""


def with_bodies() -> ir.Model:
    model = ir.from_onnx_text(BODY)
    rng = np.random.default_rng(0)
    for name in ("w", "v"):
        tensor = ir.tensor((rng.standard_normal((64, 64)) / 8).astype(np.float32), name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape((64, 64)), type=ir.TensorType(tensor.dtype))
        model.graph.register_initializer(value)
    for node in model.graph.all_nodes():
        for index, value in enumerate(node.inputs):
            if value is not None and value.name in ("w", "v"):
                node.replace_input_with(index, model.graph.initializers[value.name])
    return model


@pytest.mark.parametrize("condition", [True, False])
def test_layers_in_the_bodies_of_an_if_are_quantised_too_and_shared_weights_once(condition: bool) -> None:
    model = with_bodies()
    x = np.random.default_rng(1).standard_normal((8, 4, 64)).astype(np.float32)
    samples = open_samples({"x": x.reshape(-1, 64), "c": np.array(condition)}, model, max_samples=4)
    name_nodes(model)
    result = model_file.clone(model)
    write_dynamic(result, find_weight_matrices(result, Account("")))
    ops = Counter(node.op_type for node in read_optimized_graph(result).graph.all_nodes())
    assert ops["MatMulIntegerToFloat"] + ops["DynamicQuantizeMatMul"] == 3
    assert [v.dtype for v in result.graph.initializers.values() if len(v.shape or ()) == 2] == [ir.DataType.INT8] * 2
    assert sqnr(model, result, samples) > 30


def test_outliers_move_into_the_weights_and_the_answers_get_closer() -> None:
    model = small(outliers=40.0)
    samples = data(model)
    result, account = quantize(model, samples, STATIC)
    plain = model_file.clone(model)
    name_nodes(plain)
    write_dynamic(plain, find_weight_matrices(plain, Account("")))
    assert account.changed["smoothed activations"] >= 4
    assert all(one["folded"] for one in account.details["smooth"] if one["tensor"].endswith("norm_out"))
    assert sqnr(model, result, samples) > sqnr(model, plain, samples) + 3
    assert account.changed["layers in int8"] == 12


def test_without_outliers_nothing_is_smoothed_that_does_not_pay() -> None:
    model = small()
    _, account = quantize(model, data(model), STATIC)
    assert account.changed.get("smoothed activations", 0) <= 2


def test_a_network_of_convolutions_takes_the_static_way() -> None:
    model = simplify(SAMPLES / "digits_cnn.onnx")[0]
    samples = open_samples(SAMPLES / "digits_calib.npz", model, max_samples=16)
    _, account = quantize(model, samples, STATIC)
    assert account.details["way"]["way"] == "static"


def test_what_was_decided_can_be_asked_for() -> None:
    model = small()
    result, account = quantize(model, data(model), QuantizeOptions(placement="static", activations="static"))
    assert any(node.op_type == "QuantizeLinear" for node in result.graph)
    assert account.details["way"]["why"] == "asked for"
    with pytest.raises(UsageError, match="--activations sometimes"):
        quantize(model, data(model), QuantizeOptions(activations="sometimes"))


def test_same_inputs_same_bytes() -> None:
    model = small(outliers=40.0, vocabulary=500)
    first, second = (model_file.to_bytes(quantize(model, data(model), STATIC)[0]) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("pre_norm", [True, False])
def test_residual_sums_are_kept_from_a_slower_fusion(pre_norm: bool) -> None:
    model = small(pre_norm=pre_norm)
    assert any(node.op_type == "SkipLayerNormalization" for node in read_optimized_graph(model).graph)
    result, account = quantize(model, data(model), STATIC)
    assert account.changed["residual sums kept apart from LayerNormalization"] == 4
    assert not any(node.op_type == "SkipLayerNormalization" for node in read_optimized_graph(result).graph)
