"""A sample that is not finite keeps those layers in float that would let it reach the other samples of its batch."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic.shared_ranges import SHARED_RANGE_REASON
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.lstm_graphs import BATCH, STEPS, build_lstm
from tests.support.quantize_graphs import model as parse

DYNAMIC = QuantizeOptions(activations="dynamic", placement="static")
SAMPLES, WIDTH = 12, 48


def build(batch: str = "n") -> ir.Model:
    """One layer reads ``x``, another the root of ``z``, which is NaN where that is negative."""
    rng = np.random.default_rng(0)
    return parse(
        f"""g (float[{batch},3,48] x, float[{batch},3,48] z) => (float[{batch},3,48] y) {{
            a = MatMul(x, v)  r = Sqrt(z)  b = MatMul(r, w)  y = Add(a, b)
        }}""",
        **{name: (rng.standard_normal((WIDTH, WIDTH)) / 7).astype(np.float32) for name in "vw"},
    )


def draw(*negative: int, rows: slice = slice(None)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    data = {name: rng.uniform(0.1, 4.0, (SAMPLES, 3, WIDTH)).astype(np.float32) for name in "xz"}
    data["z"][list(negative), rows] *= -1
    return data


def list_float(model: ir.Model) -> list[str]:
    return [str(node.inputs[0].name) for node in model.graph if node.op_type == "MatMul" and node.inputs[0] is not None]


@pytest.mark.parametrize("position", [0, 5, 11])
def test_a_nan_sample_reaches_no_other_of_its_batch(position: int) -> None:
    model, data = build(), draw(position)
    result, report = quantize(model, open_samples(data, model), DYNAMIC)
    assert list_float(result) == ["r"]
    (skipped,) = [entry for entry in report.skipped if entry.reason == SHARED_RANGE_REASON]
    assert report.decision.float_units == (skipped.node,)
    assert any(line.startswith("1 sample holds NaN or infinity in what 1 layer reads") for line in report.warnings)
    wanted, found = Session(model).run(data)["y"], Session(result).run(data)["y"]
    others = np.arange(SAMPLES) != position
    assert np.isnan(found[position]).all()
    assert np.square(found - wanted)[others].sum() < 1e-3 * np.square(wanted)[others].sum()


def test_data_without_such_samples_leave_every_layer_int8_and_what_was_left_is_repeated_with_them() -> None:
    model = build()
    assert list_float(quantize(model, open_samples(draw(), model), DYNAMIC)[0]) == []
    odd, report = quantize(model, open_samples(draw(3), model), DYNAMIC)
    recorded = dataclasses.replace(DYNAMIC, float_units=report.decision.float_units)
    again, _ = quantize(model, open_samples(draw(), model), recorded)
    assert model_file.to_bytes(again) == model_file.to_bytes(odd)


def test_a_sample_that_always_runs_alone_harms_no_other_unless_part_of_it_is_sound() -> None:
    model = build("1")
    assert list_float(quantize(model, open_samples(draw(3), model), DYNAMIC)[0]) == []
    assert list_float(quantize(model, open_samples(draw(3, rows=slice(2, 3)), model), DYNAMIC)[0]) == ["r"]


def test_where_every_layer_would_be_spoiled_nothing_is_quantized() -> None:
    model = parse("g (float[n,48] x) => (float[n,48] y) { r = Sqrt(x)  y = MatMul(r, w) }", w=np.eye(48, dtype=np.float32))
    x = np.ones((8, 48), np.float32)
    x[2] = -1
    with pytest.raises(UnsupportedError, match="one range of a whole batch"):
        quantize(model, open_samples({"x": x}, model), DYNAMIC)


def test_an_lstm_with_such_a_step_stays_float() -> None:
    model = build_lstm(inputs=96, hidden=96)
    (layer,) = [node for node in model.graph if node.op_type == "LSTM"]
    root = ir.node("Sqrt", [layer.inputs[0]])
    root.outputs[0].name = "root"
    model.graph.insert_before(layer, root)
    layer.replace_input_with(0, root.outputs[0])
    x = np.random.default_rng(4).uniform(0.1, 4.0, (16 * STEPS, BATCH, 96)).astype(np.float32)
    assert quantize(model, open_samples({"x": x}, model), DYNAMIC)[1].decision.float_units == ()
    x[5, 1] = -1
    with pytest.raises(UnsupportedError, match="nothing to quantise"):
        quantize(model, open_samples({"x": x}, model), DYNAMIC)
