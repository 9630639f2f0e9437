"""What a model wants to be fed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.data.sources import open_samples

Make = Callable[..., ir.Model]
X = np.arange(24, dtype=np.float32).reshape(4, 6)


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
