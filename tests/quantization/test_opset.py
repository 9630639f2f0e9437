"""The opset is raised where a step needs it."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from onnxslim.core.errors import UnsupportedError
from onnxslim.quantization.opset import raise_opset
from tests.support.small_graphs import CONV, model


def test_the_opset_is_raised_only_when_needed() -> None:
    made = model(CONV)
    same, raised = raise_opset(made, 13)
    assert same is made
    assert raised is None
    old = model(CONV.replace('"" : 17', '"" : 11'))
    new, raised = raise_opset(old, 13)
    assert raised == 11
    assert new.opset_imports[""] == 13


def test_an_op_that_was_never_of_the_standard_is_named_where_the_opset_cannot_be_raised() -> None:
    """As converters before opset 10 wrote it; ONNX's own sentence is an assertion of its C++."""
    old = ir.from_onnx_text("""<ir_version: 4, opset_import: ["" : 8]>
    g (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = ImageScaler <scale = 0.5> (x) }""")
    with pytest.raises(UnsupportedError, match=r"opset 8 cannot be raised to 13: the standard has no ImageScaler$"):
        raise_opset(old, 13)


@pytest.mark.parametrize("place", ["graph", "body"])
def test_an_op_of_the_runtime_that_means_the_same_at_every_opset_stays(place: str) -> None:
    line = "y = SimplifiedLayerNormalization <axis = -1> (x, s)"
    if place == "body":
        branches = ", ".join(
            f"{name}_branch = {name} () => (float[2,4] {name}y) {{ {name}{line} }}" for name in ("then", "else")
        )
        line = f"y = If (c) <{branches}>"
    old = ir.from_onnx_text(f"""<ir_version: 8, opset_import: ["" : 11]>
    g (float[2,4] x, float[4] s, bool c) => (float[2,4] z) {{
      {line}
      z = Relu(y)
    }}""")
    new, raised = raise_opset(old, 21)
    assert (raised, dict(new.opset_imports)) == (11, {"": 21})
    kept = [node for node in new.graph.all_nodes() if node.op_type == "SimplifiedLayerNormalization"]
    assert len(kept) == (2 if place == "body" else 1)
    assert all(not node.domain for node in (*kept, *old.graph.all_nodes()))


def test_a_model_without_an_op_of_the_standard_imports_the_opset_that_is_asked_for() -> None:
    made = ir.from_onnx_text("""<ir_version: 8, opset_import: ["com.microsoft" : 1]>
    g (float[2,4] x) => (float[2,4] y) { y = com.microsoft.Gelu(x) }""")
    new, raised = raise_opset(made, 13)
    assert raised == 0
    assert new.opset_imports[""] == 13


def test_a_model_with_functions_is_refused_where_its_opset_had_to_be_raised() -> None:
    """The converter drops them and keeps the calls, which nothing loads."""
    old = ir.from_onnx_text("""<ir_version: 8, opset_import: ["" : 11, "own" : 1]>
    g (float[2,4] x) => (float[2,4] y) { y = own.twice(x) }
    <domain: "own", opset_import: ["" : 11]> twice (a) => (b) { b = Add(a, a) }""")
    with pytest.raises(UnsupportedError, match="opset 11 cannot be raised to 13: the model has functions"):
        raise_opset(old, 13)
    assert raise_opset(old, 11) == (old, None)
