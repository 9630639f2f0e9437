"""Pads that name their axes, in int8."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.graph import shapes
from onnxslim.graph.constants import get_const_array
from onnxslim.model_io import model_file
from onnxslim.quantization.qdq.pad_axes import write_out_pad_axes
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session
from tests.support.quantize_graphs import EVERYTHING, close, model, samples, weight


def padded(axes: list[int] | None, amounts: list[int]) -> ir.Model:
    text = f"""g (float[n,16,8,8] x) => (float[n,16,d,e] y) {{
        a = Conv (x, w)
        b = Relu (a)
        p = Pad (b, amounts, {", axes" if axes is not None else ""})
        c = Conv (p, v)
        y = Relu (c)
    }}"""
    arrays = {"w": weight(16, 16, 1, 1), "v": weight(16, 16, 3, 3), "amounts": np.asarray(amounts)}
    found = model(text.replace("amounts, )", "amounts)"), **arrays, **({} if axes is None else {"axes": np.asarray(axes)}))
    found.opset_imports[""] = 18
    shapes.infer(found)
    return found


@pytest.mark.parametrize(("axes", "amounts"), [([2, 3], [1, 2, 3, 4]), ([-1, -2], [2, 1, 4, 3])])
def test_amounts_of_all_axes_are_the_same_padding(axes: list[int], amounts: list[int]) -> None:
    found = padded(axes, amounts)
    written = model_file.clone(found)
    assert write_out_pad_axes(written) == 1
    (pad,) = (node for node in written.graph if node.op_type == "Pad")
    full = get_const_array(pad.inputs[1])
    assert full is not None
    assert full.tolist() == [0, 0, 1, 2, 0, 0, 3, 4]
    assert "axes" not in written.graph.initializers
    feed = {"x": np.random.default_rng(0).standard_normal((2, 16, 8, 8)).astype(np.float32)}
    np.testing.assert_allclose(Session(written).run(feed)["y"], Session(found).run(feed)["y"], rtol=1e-5, atol=1e-5)


def test_without_axes_nothing_is_written() -> None:
    assert write_out_pad_axes(padded(None, [0, 0, 1, 2, 0, 0, 3, 4])) == 0


def test_int8_around_such_a_pad_runs() -> None:
    found = padded([2, 3], [1, 1, 1, 1])
    result, _ = quantize(found, samples(found, 16, 8, 8), EVERYTHING)
    assert close(found, result, samples(found, 16, 8, 8))
