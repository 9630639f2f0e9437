"""Boxes and scores in one tensor: scores survive next to boxes, and what makes boxes of features stays exact."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.activations.output_error import ReferenceOutputs
from onnxslim.data.samples import Samples
from onnxslim.data.sources import open_samples
from onnxslim.quantization.options import QuantizeOptions
from onnxslim.quantization.prepare import prepare_model
from onnxslim.quantization.step import quantize
from onnxslim.runtime.session import Session, SessionConfig
from tests.support.quantize_graphs import model

CONFIG = SessionConfig()
ANCHORS = 64


def detector() -> ir.Model:
    """A small YOLO: boxes as expectations over sixteen distances, times a stride; scores that are nearly always zero."""
    rng = np.random.default_rng(0)
    stem = rng.standard_normal((16, 3, 3, 3)).astype(np.float32) / 4
    body = rng.standard_normal((64, 16, 3, 3)).astype(np.float32) / 8
    sides = rng.standard_normal((64, 64, 1, 1)).astype(np.float32) / 4
    kinds = rng.standard_normal((2, 64, 1, 1)).astype(np.float32) * 0.6
    return model(
        f"""g (float[1,3,8,8] x) => (float[1,6,{ANCHORS}] y) {{
            c = Conv <pads = [1,1,1,1]> (x, stem)
            r = Relu (c)
            d = Conv <pads = [1,1,1,1]> (r, body)
            f = Relu (d)
            s = Conv (f, sides)
            flat = Reshape (s, four)
            t = Transpose <perm = [0,3,1,2]> (flat)
            p = Softmax (t)
            e = MatMul (p, steps)
            m = Transpose <perm = [0,2,1,3]> (e)
            b = Reshape (m, three)
            boxes = Mul (b, stride)
            k = Conv (f, kinds, offset)
            logits = Reshape (k, scored)
            scores = Sigmoid (logits)
            y = Concat <axis = 1> (boxes, scores)
        }}""",
        stem=stem,
        body=body,
        sides=sides,
        kinds=kinds,
        offset=np.full(2, -9, np.float32),
        four=np.array([1, 4, 16, ANCHORS]),
        three=np.array([1, 4, ANCHORS]),
        scored=np.array([1, 2, ANCHORS]),
        steps=np.arange(16, dtype=np.float32)[:, None],
        stride=np.float32(8),
    )


@pytest.fixture(scope="module")
def images() -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).standard_normal((48, 3, 8, 8)).astype(np.float32)}


def decibels(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(np.square(a).sum() / np.square(a - b).sum()))


def test_rare_scores_survive_and_boxes_are_as_exact_as_their_features(images: dict[str, np.ndarray]) -> None:
    found = detector()
    samples: Samples = open_samples(images, found)
    options = QuantizeOptions(placement="static", target="cpu", activations="static")
    result, report = quantize(found, samples, options)
    kernels = {layer["name"]: layer["kernel"] for layer in report.details["layers"]}
    assert kernels["Conv_2"] == kernels["Conv_4"] == "int8"
    assert kernels["MatMul_8"] == "float", "an expectation over sixteen distances is no layer"
    wanted, got = (
        np.concatenate([Session(m, CONFIG).run({"x": x[None]})["y"] for x in images["x"]]) for m in (found, result)
    )
    best = wanted[:, 4:].max()
    assert best > 0.5, "the model is to find something"
    assert np.median(wanted[:, 4:]) < 0.01, "rarely"
    assert decibels(wanted[:, 4:], got[:, 4:]) > 15
    assert decibels(wanted[:, :4], got[:, :4]) > 30
    made = [node.inputs[0].producer() for node in result.graph if node.op_type == "QuantizeLinear" and node.inputs[0]]
    assert not {node.op_type for node in made if node is not None} & {"Softmax", "Sigmoid", "Mul", "MatMul"}


def test_a_clipped_score_does_not_hide_behind_boxes(images: dict[str, np.ndarray]) -> None:
    found = prepare_model(detector())[0]
    yardstick = ReferenceOutputs(found, [{"x": x[None]} for x in images["x"][:8]], CONFIG)
    spoilt = detector()
    sigmoid = next(node for node in spoilt.graph if node.op_type == "Sigmoid")
    sigmoid.op_type = "Identity"  # logits where scores belong
    errors = yardstick.errors(spoilt)
    assert list(errors) == ["y[0:4]", "y[4:6]"]
    assert errors["y[0:4]"] == 0
    assert errors["y[4:6]"] > 1
    assert list(yardstick.merge_parts(errors)) == ["y"]
    assert yardstick.merge_parts(errors)["y"] < errors["y[4:6]"]
