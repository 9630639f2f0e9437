"""Shape arithmetic on constants becomes constants."""

from __future__ import annotations

from onnxslim.graph import shapes
from onnxslim.graph.constant_propagation import propagate_constants
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
