"""Shape arithmetic on constants becomes constants."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from onnxslim.graph import constant_propagation, shapes
from onnxslim.graph.constant_propagation import evaluate_moves, propagate_constants
from tests.support.small_graphs import model


def test_shape_arithmetic_is_seen_through() -> None:
    made = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[1,2,4,4] x) => (float[a,b,n,m] y) <int64[1] six = {6}, int64[2] ends = {1, 2}> {
      zeros = ConstantOfShape(six)
      whole = Cast<to=7>(zeros)
      pads = Concat<axis=0>(whole, ends)
      p = Pad(x, pads)
      y = Relu(p)
    }""")
    propagate_constants(made)
    assert shapes.get_static_dims(made.graph.node(0).outputs[0]) == (1, 2, 5, 6)


def test_what_layers_compute_alike_is_computed_once_and_what_differs_is_not_mixed_up(monkeypatch) -> None:
    made = model("""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n] x) => (float[m] y) <int64[2] a = {1, 2}, int64[2] b = {3, 4}, int32[2] c = {1, 2}> {
      t0 = Cast <to=1> (a)
      t1 = Cast <to=1> (b)
      t2 = Cast <to=11> (a)
      t3 = Cast <to=1> (a)
      t4 = Cast <to=1> (c)
      s0 = Concat <axis=0> (t0, t1, t3, t4)
      y = Concat <axis=0> (x, s0)
      z = Identity (t2)
    }""")
    run, asked = constant_propagation.evaluate_node, []
    monkeypatch.setattr(
        constant_propagation, "evaluate_node", lambda node, *rest: asked.append(node.name) or run(node, *rest)
    )
    propagate_constants(made)
    (last,) = [node for node in made.graph if node.op_type == "Concat"]
    np.testing.assert_array_equal(last.inputs[1].const_value.numpy(), np.float32([1, 2, 3, 4, 1, 2, 1, 2]))
    assert len(asked) == 6  # t3 is t0 again


def test_numbers_of_the_same_bytes_and_another_type_are_not_mixed_up() -> None:
    made = model("""<ir_version: 10, opset_import: ["" : 21]>
    g (float[n] x) => (float[m] y) <int8[2] a = {0, 0}, int8[2] b = {0, 0}> {
      s = Cast <to=1> (a)
      u = Cast <to=1> (b)
      y = Concat <axis=0> (x, s, u)
    }""")
    for name, dtype in (("a", ir.DataType.INT4), ("b", ir.DataType.UINT4)):
        made.graph.initializers[name].const_value = ir.Tensor(np.array([7, 15], np.uint8).view(dtype.numpy()), name=name)
    propagate_constants(made)
    _, signed, unsigned = made.graph.node(0).inputs
    np.testing.assert_array_equal(signed.const_value.numpy(), np.float32([7, -1]))
    np.testing.assert_array_equal(unsigned.const_value.numpy(), np.float32([7, 15]))


def test_a_constant_is_seen_through_what_rearranges_it_and_not_through_what_computes() -> None:
    made = model(
        """<ir_version: 8, opset_import: ["" : 17]>
        g (float[2,3] x) => (float[1,5,2] y, float[2,3] z) <
            float[2,3] a = {1,2,3,4,5,6}, float[2,2] b = {7,8,9,10}, int64[1] axis = {0}
        > {
            t = Transpose <perm=[1,0]> (a)
            c = Concat <axis=0> (t, b)
            y = Unsqueeze (c, axis)
            z = Add (x, a)
        }"""
    )
    y, z = made.graph.outputs
    np.testing.assert_array_equal(evaluate_moves(y, 17), [[[1, 4], [2, 5], [3, 6], [7, 8], [9, 10]]])
    assert evaluate_moves(z, 17) is None
    assert evaluate_moves(made.graph.inputs[0], 17) is None
