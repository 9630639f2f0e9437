"""What callers see of two models, compared."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest

from onnxslim.model_io import map_types
from onnxslim.verification.interface import check_interface, check_oldest_runtime, check_opset
from tests.support.tabular_models import classifier


def model(text: str, opset: str = '"": 17') -> ir.Model:
    """A model from ONNX's own notation of a graph."""
    return ir.from_proto(onnx.parser.parse_model(f"<ir_version: 8, opset_import: [{opset}]> {text}"))


ORIGINAL = "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Abs(x) }"


@pytest.mark.parametrize(
    ("candidate", "names"),
    [
        ("g (float[N, 4] a) => (float[N, 4] y, float[N, 4] z) { y = Relu(a) z = Abs(a) }", ("input x", "input a")),
        ("g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }", ("output z",)),
        ("g (float[N, 4] x) => (float[N, 4] z, float[N, 4] y) { y = Relu(x) z = Abs(x) }", ("another order",)),
        ("g (float16[N, 4] x) => (float16[N, 4] y, float16[N, 4] z) { y = Relu(x) z = Abs(x) }", ("FLOAT16", "output y")),
        ("g (float[1, 4] x) => (float[1, 4] y, float[1, 4] z) { y = Relu(x) z = Abs(x) }", ("(1, 4), expected (N, 4)",)),
        ("g (float[N, 5] x) => (float[N, 5] y, float[N, 5] z) { y = Relu(x) z = Abs(x) }", ("(N, 5), expected (N, 4)",)),
        ("g (float[N, 4] x, float[N, 4] w) => (float[N, 4] y, float[N, 4] z) { y = Relu(x) z = Abs(w) }", ("w is new",)),
    ],
)
def test_what_breaks_a_caller_is_named(candidate: str, names: tuple[str, ...]) -> None:
    check = check_interface(model(ORIGINAL), model(candidate))
    assert check.verdict == "fail"
    assert [name for name in names if name not in check.message] == []


def test_a_map_is_no_tensor_nor_one_with_other_keys() -> None:
    maps, names, tensor = (
        map_types.from_proto(classifier(labels, zipmap=zipmap))
        for labels, zipmap in (((0, 1, 2), True), (("a", "b", "c"), True), ((0, 1, 2), False))
    )
    assert check_interface(maps, maps).verdict == "pass"
    for before, after in ((maps, tensor), (tensor, maps), (maps, names)):
        check = check_interface(before, after)
        assert (check.verdict, "output probabilities is" in check.message) == ("fail", True)
    assert "expected sequence(map(int64,float))" in check_interface(maps, tensor).message


@pytest.mark.parametrize(
    "candidate",
    [
        ORIGINAL,
        "g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z, float[N, 4] more) { y = Relu(x) z = Abs(x) more = Neg(x) }",
        "g (float[M, 4] x) => (float[M, K] y, float[M, 4] z) { y = Relu(x) z = Abs(x) }",
    ],
)
def test_what_no_caller_notices_passes(candidate: str) -> None:
    assert check_interface(model(ORIGINAL), model(candidate)).verdict == "pass"


def test_operators_of_another_library_fail_and_those_of_every_build_do_not() -> None:
    other = model("g (float[N] x) => (float[N] y) { y = my.lib.Relu(x) }", '"": 17, "my.lib": 1')
    built_in = model("g (float[N] x) => (float[N] y) { y = com.microsoft.Gelu(x) }", '"": 17, "com.microsoft": 1')
    plain = model("g (float[N] x) => (float[N] y) { y = Relu(x) }")
    assert check_opset(plain, other).verdict == "fail"
    assert "my.lib" in check_opset(plain, other).message
    assert check_opset(other, other).verdict == check_opset(plain, built_in).verdict == "pass"


def test_a_newer_opset_needs_a_newer_runtime_which_fails_where_an_older_one_is_asked() -> None:
    graph = "g (float[N] x) => (float[N] y) { y = Relu(x) }"
    old, new = model(graph, '"": 11'), model(graph, '"": 21')
    assert "of the original 11" in check_opset(old, new).message
    assert check_oldest_runtime(old, new, None).verdict == "pass"
    check = check_oldest_runtime(old, new, "1.16")
    assert check.verdict == "fail"
    assert "1.16" in check.message
    assert check_oldest_runtime(old, old, "1.16").verdict == "pass"
