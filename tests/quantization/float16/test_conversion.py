"""float16: what is converted, what stays float32 and why, and that the answers stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.float16.pipeline import explain_unmeasured
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig, check_loads
from onnxslim.simplification.step import simplify
from tests.quantization.dynamic.test_transformers import data, small, sqnr
from tests.support.paths import SAMPLES

CUDA = QuantizeOptions(target="cuda")


def model(text: str, **constants: np.ndarray) -> ir.Model:
    found = ir.from_onnx_text(f'<ir_version: 8, opset_import: ["" : 17]>\n{text}')
    for name, array in constants.items():
        tensor = ir.tensor(array, name=name)
        value = ir.Value(name=name, const_value=tensor, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype))
        found.graph.register_initializer(value)
        for node in found.graph.all_nodes():
            for index, old in enumerate(node.inputs):
                if old is not None and old.name == name:
                    node.replace_input_with(index, value)
    return found


def types(found: ir.Model, op: str) -> set[ir.DataType | None]:
    return {value.dtype for node in found.graph if node.op_type == op for value in node.outputs}


@pytest.mark.parametrize("pre_norm", [True, False])
def test_an_encoder_halves_and_keeps_its_inputs_outputs_and_answers(pre_norm: bool) -> None:
    original = small(hidden=128, pre_norm=pre_norm)
    samples = data(original, 4)
    result, account = quantize(original, samples, CUDA)
    check_loads(result)
    assert len(model_file.to_bytes(original)) > 1.9 * len(model_file.to_bytes(result))
    for before, after in ((original.graph.inputs, result.graph.inputs), (original.graph.outputs, result.graph.outputs)):
        assert [(v.name, v.dtype, v.shape) for v in before] == [(v.name, v.dtype, v.shape) for v in after]
    assert sqnr(original, result, samples) > 45
    reasons = {d.node: d.reason for d in account.declined}
    assert reasons["int8"].startswith("the CUDA provider has no int8 kernels")


def test_a_network_of_convolutions_halves_without_data() -> None:
    original = simplify(SAMPLES / "digits_cnn.onnx")[0]
    result, account = quantize(original, None, CUDA)
    assert "nodes kept in float32" not in account.changed
    assert any("no data" in line for line in account.warnings)
    feed = next(iter(open_samples(SAMPLES / "digits_calib.npz", original, max_samples=8).batches(8)))
    wanted, found = (next(iter(Session(m).run(feed).values())) for m in (original, result))
    np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)


def test_an_epsilon_that_would_vanish_and_a_mask_that_would_be_infinite_stay() -> None:
    original = model(
        """g (float[2,8] x) => (float[2,8] y) {
          a = Abs(x)
          b = Add(a, eps)
          c = Div(x, b)
          d = Add(c, mask)
          y = Softmax<axis=-1>(d)
        }""",
        eps=np.float32(1e-12).reshape(()),
        mask=np.array([0] * 7 + [-1e9], np.float32),
    )
    result, account = quantize(original, None, CUDA)
    reasons = {d.node: d.reason for d in account.declined}
    assert sum("would become zero or a denormal" in reason for reason in reasons.values()) == 1
    assert sum("would become infinite" in reason for reason in reasons.values()) == 1
    assert types(result, "Abs") == {ir.DataType.FLOAT16}
    assert types(result, "Add") == {ir.DataType.FLOAT}
    x = np.array([[0.0, 1, 2, 3, 4, 5, 6, 7]] * 2, np.float32)
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], Session(original).run({"x": x})["y"], atol=1e-3)


def test_a_tensor_that_grows_too_large_on_the_data_stays_in_float32() -> None:
    original = model("g (float[n,8] x) => (float[n,8] y) { a = Mul(x, x)\n b = Mul(a, a)\n c = Sqrt(b)\n y = Sqrt(c) }")
    x = np.full((4, 8), 20.0, np.float32)
    result, account = quantize(original, open_samples({"x": x}, original), CUDA)
    assert types(result, "Mul") == {ir.DataType.FLOAT16, ir.DataType.FLOAT}
    assert sum("float16 ends at 65504" in d.reason for d in account.declined) == 2
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], x, rtol=2e-3)


def test_an_if_is_left_whole_and_reads_float32() -> None:
    original = model(
        """g (float[n,8] x, bool c) => (float[n,8] y) {
          h = Tanh(x)
          z = If (c) <
            then_branch = yes () => (float[n,8] a) { a = Exp(h) },
            else_branch = no () => (float[n,8] b) { b = Relu(h) }
          >
          y = Sigmoid(z)
        }"""
    )
    result, account = quantize(original, None, CUDA)
    check_loads(result)
    assert types(result, "Tanh") == {ir.DataType.FLOAT16}
    bodies = [node for node in result.graph.all_nodes() if node.op_type in ("Exp", "Relu")]
    assert {node.outputs[0].dtype for node in bodies} == {ir.DataType.FLOAT}
    assert any("bodies" in d.reason for d in account.declined)
    x = np.linspace(-1, 1, 16, dtype=np.float32).reshape(2, 8)
    for c in (True, False):
        feed = {"x": x, "c": np.array(c)}
        np.testing.assert_allclose(Session(result).run(feed)["y"], Session(original).run(feed)["y"], atol=2e-3)


def test_sizes_and_fixed_float32_inputs_keep_their_types() -> None:
    original = model(
        """g (float[1,2,4,4] x) => (float[1,2,8,8] y, int64[4] s) {
          h = Relu(x)
          y = Resize<mode="linear">(h, , scales)
          s = Shape(h)
        }""",
        scales=np.array([1, 1, 2, 2], np.float32),
    )
    result, _ = quantize(original, None, CUDA)
    check_loads(result)
    assert types(result, "Relu") == {ir.DataType.FLOAT16}
    assert [v.dtype for v in result.graph.outputs] == [ir.DataType.FLOAT, ir.DataType.INT64]


def test_a_cast_to_float_becomes_one_to_float16() -> None:
    original = model("g (int64[n,8] x) => (float[n,8] y) { a = Cast<to=1>(x)\n y = Sigmoid(a) }")
    result, _ = quantize(original, None, CUDA)
    x = np.arange(8).reshape(1, 8)
    np.testing.assert_allclose(Session(result).run({"x": x})["y"], Session(original).run({"x": x})["y"], atol=1e-3)
    assert result.graph[0].attributes.get_int("to", 0) == ir.DataType.FLOAT16


def test_an_excluded_node_stays_float32() -> None:
    original = small()
    result, account = quantize(original, None, QuantizeOptions(target="cuda", exclude=(r"layer0\.mlp\.up",)))
    assert ("layer0.mlp.up", "it was excluded") in [(d.node, d.reason) for d in account.declined]
    assert next(n for n in result.graph if n.name == "layer0.mlp.up").outputs[0].dtype == ir.DataType.FLOAT


@pytest.mark.parametrize(
    ("provider", "available", "says"),
    [
        ("cpu", ["CPUExecutionProvider"], "expected, not verified here: this onnxruntime has no CUDAExecutionProvider"),
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], "was not measured: this ran on cpu"),
        ("cuda", ["CUDAExecutionProvider", "CPUExecutionProvider"], None),
        ("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"], None),
    ],
)
def test_what_is_said_about_speed_depends_on_the_providers_that_are_here(
    provider: str, available: list[str], says: str | None
) -> None:
    line = explain_unmeasured("cuda", SessionConfig(provider=provider), available)
    assert (line is None) if says is None else (line is not None and says in line)


def test_int8_activations_for_cuda_are_refused_with_the_reason() -> None:
    with pytest.raises(UsageError, match="no int8 kernels"):
        quantize(small(), None, QuantizeOptions(target="cuda", activations="static"))
