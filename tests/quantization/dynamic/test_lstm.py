"""LSTM layers in dynamic int8 against the float runtime, in every form that exporters write."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph.editor import GraphEditor
from onnxslim.model_io import model_file
from onnxslim.quantization.dynamic.lstm import LstmForm, find_lstm_layers, write_lstms
from onnxslim.quantization.prepare import prepare_model
from onnxslim.runtime.session import Session
from tests.support.lstm_graphs import HIDDEN, INPUTS, LSTM_VARIANTS, build_lstm, make_feeds


@pytest.mark.parametrize("per_output", [True, False])
@pytest.mark.parametrize("variant", LSTM_VARIANTS)
def test_int8_is_close_to_float_in_every_output(variant: str, per_output: bool) -> None:
    original = prepare_model(build_lstm(**LSTM_VARIANTS[variant]))[0]
    result = model_file.clone(original)
    layers, skipped = find_lstm_layers(result)
    assert ([layer.name for layer in layers], skipped) == (["layer"], [])
    written = write_lstms(result, {"layer": LstmForm(None, per_output)})
    assert [node.op_type for node in result.graph if node.name == "layer"] == ["DynamicQuantizeLSTM"]
    assert [entry.name for entry in written] == ["layer"]
    assert [(v.name, v.type, v.shape) for v in result.graph.outputs] == [
        (v.name, v.type, v.shape) for v in original.graph.outputs
    ]
    feeds = make_feeds(original)
    wanted, found = (Session(one).run(feeds) for one in (original, result))
    for name, array in wanted.items():
        error = np.square(array - found[name], dtype=np.float64).sum()
        assert error < 1e-3 * np.square(array, dtype=np.float64).sum()
    assert len(model_file.to_bytes(result)) < 0.35 * len(model_file.to_bytes(original))


def test_factors_move_between_input_and_weights() -> None:
    original = prepare_model(build_lstm())[0]
    factors = np.linspace(0.25, 4, INPUTS).astype(np.float32)
    result = model_file.clone(original)
    write_lstms(result, {"layer": LstmForm(factors)})
    feeds = make_feeds(original)
    wanted, found = (Session(one).run(feeds)["y"].astype(np.float64) for one in (original, result))
    assert np.square(wanted - found).sum() < 1e-2 * np.square(wanted).sum()


@pytest.mark.parametrize(
    ("attributes", "exclude", "reason"),
    [({"layout": 1}, (), "layout 1"), ({}, ("lay.*",), "it was excluded")],
)
def test_what_stays_float_is_told(attributes: dict[str, Any], exclude: tuple[str, ...], reason: str) -> None:
    found = build_lstm()
    for name, value in attributes.items():
        next(node for node in found.graph if node.op_type == "LSTM").attributes[name] = ir.AttrInt64(name, value)
    layers, skipped = find_lstm_layers(found, exclude)
    assert not layers
    assert [(entry.node, reason in entry.reason) for entry in skipped] == [("layer", True)]


def test_weights_that_are_computed_or_few_stay_float() -> None:
    few = build_lstm(inputs=4, hidden=4)
    assert "fewer than" in find_lstm_layers(few)[1][0].reason
    computed = build_lstm()
    node = next(node for node in computed.graph if node.op_type == "LSTM")
    weight = ir.val("w_given", ir.DataType.FLOAT, (1, 4 * HIDDEN, INPUTS))
    computed.graph.inputs.append(weight)
    GraphEditor(computed.graph).replace_input(node, 1, weight)
    assert "not float32 constants" in find_lstm_layers(computed)[1][0].reason
