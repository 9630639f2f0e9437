"""Weights in fewer bits become float initializers, and the very same codes again; what changed is stored the same way."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.data.sources import open_samples
from onnxslim.graph.stored_weights.unpacking import pack_weights, unpack_weights
from onnxslim.model_io import model_file
from onnxslim.pruning.options import PruneOptions
from onnxslim.pruning.step import prune
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig

RNG = np.random.default_rng(2)
IN, HIDDEN, OUT = 32, 64, 16
X = RNG.normal(size=(64, IN)).astype(np.float32)

#: How the first layer's weights (IN, HIDDEN) are stored: codes, scale, zero point, attributes.
KINDS = {
    "int8 for all": (np.int8, (), None, {}),
    "int8 by output": (np.int8, (HIDDEN,), None, {"axis": 1}),
    "int8 by output, zeros said": (np.int8, (HIDDEN,), 0, {"axis": 1}),
    "uint8 by output": (np.uint8, (HIDDEN,), 128, {"axis": 1}),
    "uint8 for all, its zero elsewhere": (np.uint8, (), 117, {}),
    "int8 in blocks": (np.int8, (IN // 8, HIDDEN), None, {"axis": 0, "block_size": 8}),
    "int4 in blocks": (ir.DataType.INT4, (IN // 8, HIDDEN), None, {"axis": 0, "block_size": 8}),
    "half": (np.float16, None, None, {}),
}


def build(kind: str) -> ir.Model:
    """Two linear layers, both stored as ``kind`` says (the second one's scales along its own outputs)."""
    dtype, scale_shape, zero, attributes = KINDS[kind]
    graph = ir.from_onnx_text(f"""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n,{IN}] x) => (float[n,{OUT}] y) {{ h = MatMul(x, w1) r = Relu(h) y = MatMul(r, w2) }}""")
    rng = np.random.default_rng(0)
    layers = [node for node in graph.graph if node.op_type == "MatMul"]
    for layer, (rows, columns) in zip(layers, ((IN, HIDDEN), (HIDDEN, OUT)), strict=True):
        name = str(layer.inputs[1].name)
        if scale_shape is None:
            arrays = [ir.tensor(rng.normal(size=(rows, columns)).astype(np.float16), name=name)]
            node = ir.node("Cast", [], {"to": ir.DataType.FLOAT}, name=f"{name}_widen")
        else:
            kind_of_code = dtype if isinstance(dtype, ir.DataType) else ir.DataType.from_numpy(np.dtype(dtype))
            low, high = (-7, 8) if kind_of_code == ir.DataType.INT4 else (-120, 121)
            codes = rng.integers(low, high, (rows, columns)) + (zero or 0)
            shape = scale_shape if not scale_shape else (columns,) if len(scale_shape) == 1 else (rows // 8, columns)
            scale = np.exp(rng.normal(-4, 0.5, shape)).astype(np.float32)
            if zero == 117:
                codes = codes.clip(0, 255)
            arrays = [
                ir.tensor(codes.astype(kind_of_code.numpy()), kind_of_code, name=name),
                ir.tensor(scale, name=f"{name}_s"),
            ]
            if zero is not None:
                zeros = np.full(shape, zero).astype(kind_of_code.numpy())
                arrays.append(ir.tensor(zeros, kind_of_code, name=f"{name}_z"))
            node = ir.node("DequantizeLinear", [], dict(attributes), name=f"{name}_widen")
        values = []
        for tensor in arrays:
            value = ir.Value(name=tensor.name, const_value=tensor, shape=tensor.shape, type=ir.TensorType(tensor.dtype))
            graph.graph.register_initializer(value)
            values.append(value)
        node.resize_inputs(len(values))
        for index, value in enumerate(values):
            node.replace_input_with(index, value)
        node.outputs[0].name = f"{name}_wide"
        graph.graph.insert_before(graph.graph[0], node)
        layer.replace_input_with(1, node.outputs[0])
    return model_file.load(model_file.to_bytes(graph))


def run(model: ir.Model) -> np.ndarray:
    result: np.ndarray = Session(model, SessionConfig(optimize=False)).run({"x": X})["y"]
    return result


def count_ops(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


@pytest.mark.parametrize("kind", KINDS)
def test_they_become_what_they_stand_for_and_the_same_codes_again(kind: str) -> None:
    original, model = build(kind), build(kind)
    stored = unpack_weights(model)
    assert len(stored) == 2
    assert count_ops(model) == ["MatMul", "Relu", "MatMul"]
    assert {value.dtype for value in model.graph.initializers.values()} == {ir.DataType.FLOAT}
    np.testing.assert_allclose(run(model), run(original), rtol=1e-6, atol=1e-6)
    assert pack_weights(model, stored) == 2
    before = {name: value.const_value.numpy() for name, value in original.graph.initializers.items()}
    after = {name: value.const_value.numpy() for name, value in model.graph.initializers.items()}
    assert after.keys() == before.keys()
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert sorted(count_ops(model)) == sorted(count_ops(original))
    np.testing.assert_array_equal(run(model), run(original))


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_step_made_of_them_is_stored_the_same_way_where_that_is_asked_for(kind: str) -> None:
    model = build(kind)
    stored = unpack_weights(model)
    for name in stored:
        value = model.graph.initializers[name]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() * np.float32(1.7) + np.float32(0.001), name=name)
    expected = run(model)
    assert pack_weights(model, stored) == 0
    assert pack_weights(model, stored, changed=True) == 2
    assert np.square(run(model) - expected).sum() < (0.05 if "int4" in kind else 1e-3) * np.square(expected).sum()
    assert len(model_file.to_bytes(model)) <= len(model_file.to_bytes(build(kind))) + 300


def test_where_activations_are_quantized_too_all_stays() -> None:
    samples = open_samples({"x": X}, build("half"))
    model = quantize(build("int8 by output"), samples, QuantizeOptions(placement="static", activations="static"))[0]
    before = model_file.to_bytes(model)
    assert unpack_weights(model) == {}
    assert model_file.to_bytes(model) == before


@pytest.mark.parametrize("kind", ["int8 for all", "int8 by output", "uint8 by output"])
def test_quantizing_again_loses_nothing(kind: str) -> None:
    original = build(kind)
    float_weights = build(kind)
    unpack_weights(float_weights)
    wanted = sorted(np.abs(v.const_value.numpy()).sum() for v in float_weights.graph.initializers.values())
    samples = open_samples({"x": X}, original)
    result, report = quantize(original, samples, QuantizeOptions(placement="static", activations="static", target="cpu"))
    assert report.changed["layers in int8"] == 2
    unpacked = []
    for node in result.graph:
        codes = node.inputs[0].const_value if node.op_type == "DequantizeLinear" else None
        if codes is not None and codes.size > IN:
            unpacked.append(np.abs(codes.numpy().astype(np.float64) * node.inputs[1].const_value.numpy()).sum())
    np.testing.assert_allclose(sorted(unpacked), wanted, rtol=1e-5)
    assert len(model_file.to_bytes(result)) < len(model_file.to_bytes(original)) + 1500


@pytest.mark.parametrize("kind", KINDS)
def test_pruning_cuts_them_and_writes_no_larger_file(kind: str) -> None:
    original = build(kind)
    options = PruneOptions(remove=0.3, of="params", round_to=8, min_layer_params=0)
    result, report = prune(original, open_samples({"x": X}, original), options)
    assert report.changed["units"] > 0
    assert len(model_file.to_bytes(result)) < len(model_file.to_bytes(original))
    assert run(result).shape == run(original).shape
