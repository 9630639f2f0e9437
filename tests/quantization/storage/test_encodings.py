"""Exact forms of constants: written into a graph, the runtime makes the very bits of them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxslim.graph.editor import GraphEditor
from onnxslim.quantization.storage.encodings import Differences, LookedUp, Narrowed, find_exact_forms
from onnxslim.runtime.session import Session

RNG = np.random.default_rng(0)
OPSET = 17


def expand(array: np.ndarray, form: Narrowed | LookedUp | Differences) -> np.ndarray:
    tensor = ir.tensor(array)
    end = ir.node("Identity", [ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1]))])
    end.outputs[0].name, end.outputs[0].type, end.outputs[0].shape = "z", ir.TensorType(ir.DataType.FLOAT), ir.Shape([1])
    graph = ir.Graph(list(end.inputs), list(end.outputs), nodes=[end], opset_imports={"": OPSET}, name="g")  # type: ignore[arg-type]
    value = form.write(GraphEditor(graph), "table", tensor)
    graph.outputs.append(value)
    result = Session(ir.Model(graph, ir_version=8)).run({"x": np.ones(1, np.float32)})
    return np.asarray(result[str(value.name)])


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("f4", "f8", "i4", "i8")]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=6),
        elements=st.sampled_from([0.0, 1.0, -1.0, 255.0, 300.0, -70000.0]),
    )
)
def test_every_form_gives_the_bits_back(array: np.ndarray) -> None:
    forms = list(find_exact_forms(array, ir.tensor(array).dtype, OPSET))
    assert any(isinstance(form, LookedUp) for form in forms)
    for form in forms:
        made = expand(array, form)  # type: ignore[arg-type]
        assert made.dtype == array.dtype
        assert made.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (np.arange(5000)[:, None], Differences),
        (np.sort(RNG.integers(0, 100_000, 5000)).astype(np.int32), Differences),
        (RNG.choice(RNG.normal(size=90), (1, 400, 2)).astype(np.float32), LookedUp),
        (np.where(np.arange(900) % 7, np.nan, -0.0).astype(np.float32), LookedUp),
        (RNG.integers(-100, 100, 5000), Narrowed),
        (RNG.normal(size=5000).astype(np.float16).astype(np.float32), Narrowed),
    ],
    ids=["range", "in order", "anchors", "nan and negative zero", "small", "half floats"],
)
def test_the_smallest_form_is_of_the_kind_of_the_table(array: np.ndarray, kind: type) -> None:
    best = min(find_exact_forms(array, ir.tensor(array).dtype, OPSET), key=lambda form: form.nbytes)
    assert isinstance(best, kind)
    assert best.nbytes < 0.6 * array.nbytes
    assert expand(array, best).tobytes() == array.tobytes()  # type: ignore[arg-type]


def test_arbitrary_numbers_and_old_graphs_have_no_other_form() -> None:
    assert not list(find_exact_forms(RNG.normal(size=5000).astype(np.float32), ir.DataType.FLOAT, OPSET))
    kinds = {type(form) for form in find_exact_forms(np.arange(400), ir.DataType.INT64, 10)}
    assert kinds == {Narrowed}
