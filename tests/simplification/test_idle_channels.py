"""Idle channels go when that is exact, runnable and leaves whole blocks."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from onnxslim.model_io import model_file
from onnxslim.simplification.step import simplify
from tests.support.equality import run, same
from tests.support.onnx_text import build, feeds, floats

TEXT = """(float[N,3,8,8] x) => (float[N,4,4,4] y) {
    a = Conv (x, w, b)
    r = Relu (a)
    y = Conv (r, v)
}"""


def layers(dead: int, of: int = 48) -> ir.Model:
    w, b = floats(of, 3, 3, 3), floats(of, seed=1)
    w[:dead] = 0
    b[:dead] = -1
    return build(TEXT, w=w, b=b, v=floats(4, of, 3, 3, seed=2))


def widths(model: ir.Model) -> list[int]:
    return [value.const_value.shape[0] for value in model.graph.initializers.values() if len(value.const_value.shape) == 4]  # type: ignore[union-attr, misc, arg-type]


def test_channels_that_are_always_zero_go_by_the_block() -> None:
    model = layers(dead=16)
    result, report = simplify(model)
    assert report.changed["channels always zero"] == 16
    assert sorted(widths(result)) == [4, 32]
    fed = feeds(model, 2)
    assert same(run(model, fed)["y"], run(result, fed)["y"])
    assert not simplify(result)[1].changed


def test_a_layer_that_fills_its_blocks_is_not_made_ragged() -> None:
    result, report = simplify(layers(dead=5))
    assert not report.changed
    assert sorted(widths(result)) == [4, 48]
    assert any("43 channels for 48" in skipped.reason for skipped in report.skipped)


def test_a_layer_that_never_filled_its_blocks_may_lose_any_number() -> None:
    result, report = simplify(layers(dead=5, of=47))
    assert report.changed["channels always zero"] == 5
    assert sorted(widths(result)) == [4, 42]


def test_the_authors_annotation_of_a_narrowed_value_goes() -> None:
    proto = onnx.load_model_from_string(model_file.to_bytes(layers(dead=16)))
    proto.graph.value_info.append(helper.make_tensor_value_info("r", onnx.TensorProto.FLOAT, ["N", 48, 6, 6]))
    result, _ = simplify(proto)
    after = onnx.load_model_from_string(model_file.to_bytes(result))
    assert not after.graph.value_info
    onnx.checker.check_model(after, full_check=True)


def test_living_channels_stay() -> None:
    assert not simplify(build(TEXT, w=floats(32, 3, 3, 3), b=np.abs(floats(32)), v=floats(4, 32, 3, 3)))[1].changed


def test_layers_that_share_a_weight_are_left_alone() -> None:
    text = """(float[N,16,8,8] x) => (float[N,16,4,4] y) {
        a = Conv (x, w)
        r = Relu (a)
        y = Conv (r, w)
    }"""
    w = floats(16, 16, 3, 3)
    w[:8] = 0
    result, report = simplify(build(text, w=w))
    assert not report.changed
    assert any("layers share w" in skipped.reason for skipped in report.skipped)
    assert len(result.graph.initializers) == 1
