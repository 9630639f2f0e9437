"""Shape arithmetic that is followed with symbols is, at every size, what the runtime computes."""

from __future__ import annotations

import numpy as np
import pytest

from onnxslim.graph import shapes
from onnxslim.runtime.session import Session
from onnxslim.simplification.symbolic_shapes.inference import lookup_integers, propagate_integers
from onnxslim.simplification.symbolic_shapes.polynomials import Poly
from tests.support.mask_oracle import PLAIN
from tests.support.small_graphs import model

BODIES = {
    "gather, multiply, concat": "a = Gather(s, zero)\n b = Mul(a, two)\n y = Concat<axis = 0>(b, two)",
    "slice and reverse": "y = Slice(s, two, zero, zero, minus)",
    "product": "p = ReduceProd<keepdims = 1>(s)\n y = Concat<axis = 0>(p, two)",
    "unsqueeze and squeeze": "u = Unsqueeze(s, zero)\n y = Squeeze(u, zero)",
    "sub, neg, cast": "a = Sub(s, two)\n b = Neg(a)\n c = Cast<to = 6>(b)\n y = Cast<to = 7>(c)",
    "split": "a, b, c = Split<axis = 0>(s, ones)\n y = Concat<axis = 0>(c, a)",
    "expand": "a = Gather(s, zero)\n y = Expand(a, three)",
}


@pytest.mark.parametrize("name", BODIES)
def test_the_value_of_a_symbol_is_that_of_the_runtime(name: str) -> None:
    net = model(f"""<ir_version: 8, opset_import: ["" : 17]>
    g (float[n,3,m] x) => (int64[k] y) <int64[1] zero = {{0}}, int64[1] two = {{2}}, int64[1] minus = {{-1}},
      int64[3] ones = {{1, 1, 1}}, int64[1] three = {{3}}> {{
      s = Shape(x)
      {BODIES[name]}
    }}""")
    shapes.infer(net)
    known = lookup_integers(net.graph.outputs[0], propagate_integers(net))
    assert known is not None
    for n, m in ((1, 1), (2, 5), (7, 4)):
        wanted = Session(net, PLAIN).run({"x": np.zeros((n, 3, m), np.float32)})["y"]
        assert [value_at(entry, {"n": n, "m": m}) for entry in known.flat] == wanted.tolist()


def value_at(entry: object, sizes: dict[str, int]) -> int:
    """A number, or a polynomial at given sizes."""
    if not isinstance(entry, Poly):
        return int(entry)  # type: ignore[call-overload,no-any-return]
    return sum(factor * int(np.prod([sizes[str(name)] for name in names])) for names, factor in entry.terms)
