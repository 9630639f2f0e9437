"""Compare: equal models, unequal ones, and the layer where they part."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from onnxslim.core.errors import InvalidModelError
from onnxslim.data.sources import open_samples
from onnxslim.model_io import model_file
from onnxslim.validation import comparison as room
from onnxslim.validation.comparison import OutputDifference, compare
from tests.support.node_graphs import FLOAT, build, chain


def test_a_model_equals_itself_over_seeds() -> None:
    model = chain()
    found = compare(model, model, [open_samples("random", model, seed=seed) for seed in (0, 1, 2)])
    assert found.equal
    assert found.outputs["y"].relative == 0
    assert found.layers == []


def test_the_difference_is_against_the_largest_element_over_all_samples() -> None:
    model, other = chain(length=1), chain({0: 1e-3}, length=1)
    samples = open_samples(np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32), model)
    x = np.concatenate([batch["x"] for batch in samples.batches(3)])
    a, b = (x @ m.graph.initializers["w0"].const_value.numpy() for m in (model, other))
    found = compare(model, other, samples, batch_size=3)
    assert found.outputs["y"].relative == pytest.approx(np.abs(a - b).max() / np.abs(a).max(), rel=1e-3)
    assert not found.equal


def test_layers_are_in_graph_order_and_the_first_bad_one_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, other = chain(), chain({1: 0.05, 3: 0.9})
    samples = open_samples("random", model)
    found = compare(model, other, samples, layers=True)
    assert [(layer.name, layer.node, layer.op) for layer in found.layers] == [
        (name, f"n{i}", "MatMul") for i, name in enumerate(["t0", "t1", "t2", "t3", "t4", "y"])
    ]
    assert found.layers[0].sqnr_db == math.inf
    assert found.layers[1].sqnr_db == pytest.approx(-20 * math.log10(0.05), abs=1.5)
    assert found.first_bad.name == "t3"
    monkeypatch.setattr(room, "_MAX_TAP_BYTES", 1)  # a group for each tensor
    assert compare(model, other, samples, layers=True).layers == found.layers


def test_the_json_holds_no_infinity() -> None:
    model = chain()
    entry = compare(model, chain({5: 2.0}), open_samples("random", model), layers=True).as_json()
    json.dumps(entry, allow_nan=False)
    assert entry["layers"][0]["sqnr_db"] is None
    assert [layer["name"] for layer in entry["layers"] if layer["first_bad"]] == ["y"]


def test_integers_and_sequences_are_compared_element_by_element() -> None:
    both = helper.make_tensor_sequence_value_info("all", FLOAT, None)

    def model(bias: float) -> ir.Model:
        return build(
            [
                helper.make_node("Add", ["x", "b"], ["z"]),
                helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
                helper.make_node("SequenceConstruct", ["z", "x"], ["all"]),
            ],
            {"x": (FLOAT, ["batch", 4])},
            {"label": (TensorProto.INT64, ["batch"]), "all": both},
            {"b": np.float32([bias, 0, 0, 0])},
        )

    samples = open_samples("random", model(0))
    found = compare(model(0), model(9), samples)
    assert set(found.outputs) == {"label", "all[0]", "all[1]"}
    assert "elements differ" in found.outputs["label"].mismatch
    assert found.outputs["all[1]"].relative == 0
    assert found.outputs["all[0]"].relative > 1
    assert compare(model(0), model(0), samples).equal


@pytest.mark.parametrize(
    ("a", "b", "relative"),
    [
        (np.zeros(3), np.zeros(3), 0.0),
        (np.zeros(3), np.full(3, 1e-9), math.inf),
        (np.array([np.nan, 1]), np.array([np.nan, 1]), 0.0),
        (np.array([1.0, 1]), np.array([np.nan, 1]), math.inf),
        (np.ones(3), np.ones(4), math.inf),
        (np.ones(3), np.ones(3, np.float32), math.inf),
        (np.array([2.0, -4]), np.array([2.0, -3]), 0.25),
    ],
)
def test_what_counts_as_a_difference(a: np.ndarray, b: np.ndarray, relative: float) -> None:
    found = OutputDifference()
    found.add(a, b)
    assert found.relative == relative


def test_a_missing_output_is_named() -> None:
    kind = FLOAT, ["batch", 8]
    other = build([helper.make_node("Neg", ["x"], ["z"])], {"x": kind}, {"z": kind})
    samples = open_samples("random", other)
    with pytest.raises(InvalidModelError, match="no output y"):
        compare(chain(), other, samples)


def test_the_models_are_not_changed() -> None:
    model = chain()
    before = model_file.to_bytes(model)
    compare(model, model, open_samples("random", model), layers=True)
    assert model_file.to_bytes(model) == before


def test_a_real_detector_with_free_sizes_and_subgraphs_can_be_looked_into(zoo: Path) -> None:
    model: Any = model_file.load(zoo / "ppocrv5_det.onnx")
    samples = open_samples("random", model, max_samples=1, dims={"d1": 64, "d2": 64})
    found = compare(model, model, samples, layers=True)
    assert found.equal
    assert len(found.layers) > 100
    assert all(layer.sqnr_db == math.inf for layer in found.layers)


def test_a_tensor_of_another_shape_is_said_to_be_one() -> None:
    model, other = chain(length=2), chain(length=2)
    reshaped = build(
        [
            helper.make_node("MatMul", ["x", "w0"], ["inner"], "n0"),
            helper.make_node("Unsqueeze", ["inner", "axes"], ["t0"], "u"),
            helper.make_node("Squeeze", ["t0", "axes"], ["outer"], "s"),
            helper.make_node("MatMul", ["outer", "w1"], ["y"], "n1"),
        ],
        {"x": (FLOAT, ["batch", 8])},
        {"y": (FLOAT, ["batch", 8])},
        {f"w{i}": other.graph.initializers[f"w{i}"].const_value.numpy() for i in range(2)} | {"axes": np.array([1])},
    )
    layers = compare(model, reshaped, open_samples("random", model), layers=True).as_json()["layers"]
    assert [(one["name"], one["other_shape"], one["equal"]) for one in layers] == [("t0", True, False), ("y", False, True)]


def test_sequences_are_outputs_member_by_member_and_no_layers() -> None:
    made = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,4] y, seq(float[]) s) {
        y = Relu (x)
        empty = SequenceEmpty ()
        s = SequenceInsert (empty, y)
    }""")
    found = compare(made, made, open_samples("random", made), layers=True)
    assert found.equal
    assert set(found.outputs) == {"y", "s[0]"}
    assert [layer.name for layer in found.layers] == ["y"]
