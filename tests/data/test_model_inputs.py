"""What a model wants to be fed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from onnxslim.core.errors import InvalidDataError, UnsupportedError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]
X = np.arange(24, dtype=np.float32).reshape(4, 6)
#: Models that ask which of their numbers are NaN, and such that do not.
ASKING = {
    "imputer": "f = ai.onnx.ml.Imputer <imputed_value_floats = [0.0], replaced_value_float = 1.0> (x)",
    "scaled before": """s = Mul (x, two)
        t = Concat <axis = 1> (s, s)
        f = IsNaN (t)""",
    "not equal to itself": """h = Cast <to = 10> (x)
        f = Equal (h, h)""",
    "trees": """s = Slice (x, zero, one)
        f = ai.onnx.ml.TreeEnsembleRegressor <n_targets = 1> (s)""",
    "in a branch": """f = If (yes) <then_branch = a () => (bool[n,3] p) { p = IsNaN (x) },
        else_branch = b () => (bool[n,3] q) { q = Equal (x, two) }>""",
}
SILENT = {
    "a layer": "f = Add (x, two)",
    "compared": "f = Greater (x, two)",
    "asked behind a layer": """h = Exp (x)
        f = IsNaN (h)""",
    "an index": """i = Cast <to = 7> (x)
        t = Gather (two, i)
        f = IsNaN (t)""",
    "another's op": "f = my.IsNaN (x)",
}


def test_a_model_whose_input_is_called_labels_gets_it(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 6]), labels=("INT64", ["n"]))
    samples = open_samples({"x": X, "labels": np.arange(4)}, model)
    assert samples.labels is None
    assert samples.input_names == ["x", "labels"]


def test_an_input_with_a_default_may_be_left_out(make: Make) -> None:
    model = make(x=("FLOAT", ["n", 6]), scale=("FLOAT", []))
    scale = next(v for v in model.graph.inputs if v.name == "scale")
    scale.const_value = ir.tensor(np.float32(2), name="scale")
    model.graph.register_initializer(scale)
    assert open_samples({"x": X}, model).input_names == ["x"]
    assert open_samples(X, model).input_names == ["x"]
    assert open_samples({"x": X, "scale": np.float32(3)}, model).input_names == ["x", "scale"]


def test_a_model_without_inputs_or_with_a_sequence_cannot_be_fed(make: Make) -> None:
    with pytest.raises(UnsupportedError, match="takes no inputs"):
        open_samples(X, make())
    model = make(x=("FLOAT", ["n"]))
    model.graph.inputs[0].type = ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(UnsupportedError, match="input 'x' is Sequence"):
        open_samples(X, model)


def test_an_input_of_unknown_rank_is_stacked_along_its_first_axis(make: Make) -> None:
    samples = open_samples(X, make(x=("FLOAT", None)))
    assert [batch["x"].shape for batch in samples.batches(3)] == [(3, 6), (1, 6)]


def build(body: str) -> ir.Model:
    """A model of one float input (n, 3) and the constants ``two``, ``zero``, ``one`` and ``yes``."""
    constants = "float[1] two = {2}, int64[1] zero = {0}, int64[1] one = {1}, bool[1] yes = {1}"
    text = f"""<ir_version: 8, opset_import: ["" : 17, "ai.onnx.ml" : 3, "my" : 1]>
    g (float[n,3] x) => (f) <{constants}> {{ {body} }}"""
    return ir.from_proto(onnx.parser.parse_model(text))


@pytest.mark.parametrize("body", ASKING.values(), ids=ASKING)
def test_missing_values_are_fed_as_they_are_where_the_model_asks_for_them(body: str) -> None:
    x = np.array([[1, math.nan, 2], [3, 4, 5]])
    (batch,) = open_samples({"x": x}, build(body)).batches(2)
    assert np.array_equal(batch["x"], x.astype(np.float32), equal_nan=True)
    x[1, 0] = math.inf
    with pytest.raises(InvalidDataError, match="sample 1 holds inf"):
        list(open_samples({"x": x}, build(body)).batches(2))


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT)
def test_a_nan_that_nobody_asks_for_is_named(body: str) -> None:
    with pytest.raises(InvalidDataError, match="sample 0 holds nan"):
        list(open_samples({"x": np.full((1, 3), math.nan)}, build(body)).batches(1))


def test_empty_cells_of_a_table_are_missing_values(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,c\n1,,3\n, ,nan\n")
    (batch,) = open_samples(tmp_path / "a.csv", build(ASKING["imputer"])).batches(2)
    assert np.array_equal(np.isnan(batch["x"]), [[False, True, False], [True, True, True]])
    with pytest.raises(InvalidDataError, match="column 'a', row 3: ''"):
        open_samples(tmp_path / "a.csv", build(SILENT["a layer"]))
