"""Shapes that are inferred are those that the runtime makes, and free dimensions are bound as the contract says."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from onnxslim.core.errors import UsageError
from onnxslim.graph import shapes
from onnxslim.graph.signature import tap_outputs
from onnxslim.runtime.session import Session
from tests.support.channel_cases import CASES
from tests.support.mask_oracle import PLAIN, feeds
from tests.support.small_graphs import CONV, model


@pytest.mark.parametrize("name", list(CASES)[::7])
def test_what_is_inferred_is_what_the_runtime_makes(name: str) -> None:
    net = CASES[name][0].clone()
    shapes.infer(net)
    named = [v for node in net.graph for v in node.outputs if v.name and shapes.get_static_dims(v) is not None]
    found = Session(tap_outputs(net, [str(value.name) for value in named]), PLAIN).run(feeds(net, 0))
    for value in named:
        if isinstance(array := found.get(str(value.name)), np.ndarray):
            assert shapes.get_static_dims(value) == array.shape


def test_free_dimensions_are_bound_as_told_else_1_and_224() -> None:
    net = model(CONV)
    shapes.bind(net, {"height": 32})
    assert shapes.get_static_dims(net.graph.inputs[0]) == (1, 3, 32, 224)
    assert shapes.get_static_dims(net.graph.outputs[0]) == (1, 8, 16, 112)
    with pytest.raises(UsageError, match="--dim depth"):
        shapes.bind(model(CONV), {"depth": 3})


def test_dimensions_are_read_as_sizes_names_and_unknowns() -> None:
    value = ir.Value(name="x", shape=ir.Shape([2, "n", None]))
    assert shapes.get_dims(value) == (2, "n", None)
    assert shapes.get_static_dims(value) is None
    assert shapes.get_dims(ir.Value(name="y")) is None


@pytest.mark.parametrize(
    ("dtype", "dims", "expected"),
    [
        (ir.DataType.FLOAT, (2, 3), 24),
        (ir.DataType.INT64, (), 8),
        (ir.DataType.UINT4, (3,), 2),
        (ir.DataType.FLOAT, (0, 5), 0),
        (ir.DataType.FLOAT, ("n", 3), None),
        (ir.DataType.STRING, (2,), None),
        (ir.DataType.UNDEFINED, (2,), None),
        (None, (2,), None),
        (ir.DataType.FLOAT, None, None),
    ],
)
def test_bytes_of_a_tensor(dtype: ir.DataType | None, dims: tuple[int | str, ...] | None, expected: int | None) -> None:
    value = ir.Value(
        name="x",
        type=None if dtype is None else ir.TensorType(dtype),
        shape=None if dims is None else ir.Shape(dims),
    )
    assert shapes.get_nbytes(value) == expected


def test_a_sequence_has_no_bytes() -> None:
    value = ir.Value(name="x", type=ir.SequenceType(ir.TensorType(ir.DataType.FLOAT)), shape=ir.Shape([2]))
    assert shapes.get_nbytes(value) is None


@pytest.mark.parametrize("declared", ["n,7", "n", "n,4,1", "3,7"])
def test_an_output_that_says_other_sizes_gets_those_that_follow(declared: str) -> None:
    net = model(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[{declared}] y) {{ y = Relu(x) }}""")
    shapes.infer(net)
    assert shapes.get_dims(net.graph.outputs[0]) == (3 if declared.startswith("3") else "n", 4)


def test_names_of_free_sizes_and_what_no_inference_knows_stay() -> None:
    net = model("""<ir_version: 8, opset_import: ["" : 17, "acme" : 1]>
    g (float[n,4] x) => (float[rows,4] y, int64[2,found] z, float[n,9] w) { y = Relu(x)
    z = NonZero(x)
    w = acme.Mystery(x) }""")
    shapes.infer(net)
    assert [shapes.get_dims(value) for value in net.graph.outputs] == [("rows", 4), (2, "found"), ("n", 9)]


def test_names_that_inference_invents_are_not_told_to_callers() -> None:
    net = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x, float[unk__0,4] mine) => (float[n,4] y, float[n,4] z, float[n,4] own, float[unk__7,4] said)
    { y = Relu(x)
    z = Exp(y)
    own = Relu(mine)
    said = Neg(y) }""")
    net.graph.inputs[0].shape = ir.Shape([None, 4])
    net.graph.outputs[0].shape, net.graph.outputs[1].shape = None, ir.Shape([None, 4])
    net.graph.outputs[2].shape = None
    shapes.infer(net)
    dims = [shapes.get_dims(value) for value in net.graph.outputs]
    assert dims == [(None, 4), (None, 4), ("unk__0", 4), ("unk__7", 4)]


def test_names_of_free_sizes_that_a_model_did_not_tell_are_taken_out_of_it_again() -> None:
    net = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,4] x) => (float[n,4] y) { h = Relu(x)
    i = Neg(h)
    y = Exp(i) }""")
    net.graph[0].outputs[0].shape = ir.Shape(["n", 4])
    known = shapes.list_known(net)
    assert (known.values, known.dim_names) == ({"h", "y"}, {"n"})
    net.graph[0].outputs[0].shape = ir.Shape(["invented", 4])
    net.graph[1].outputs[0].shape = ir.Shape(["n", 4])
    shapes.keep_known(net, known)
    assert [shapes.get_dims(node.outputs[0]) for node in net.graph] == [(None, 4), None, ("n", 4)]
