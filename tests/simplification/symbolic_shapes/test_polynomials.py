"""Arithmetic with unknown sizes agrees with arithmetic on every size."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from onnxslim.simplification.symbolic_shapes.polynomials import (
    ANY_SIGN,
    Number,
    Poly,
    divide,
    equal,
    exact_quotient,
    less,
    lower_bound,
    modulo,
    symbol,
)

#: An expression as a function of (a, b), so that it can be built from symbols and from numbers alike.
Expression = Callable[[Number, Number], Number]


def expressions() -> st.SearchStrategy[Expression]:
    leaves = st.one_of(
        st.integers(-4, 6).map(lambda n: lambda a, b: n),
        st.sampled_from([lambda a, b: a, lambda a, b: b]),
    )

    def grow(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
        def join(parts: tuple[str, Expression, Expression]) -> Expression:
            op, f, g = parts
            if op == "+":
                return lambda a, b: f(a, b) + g(a, b)
            if op == "-":
                return lambda a, b: f(a, b) - g(a, b)
            return lambda a, b: f(a, b) * g(a, b)

        return st.tuples(st.sampled_from("+-*"), inner, inner).map(join)

    return st.recursive(leaves, grow, max_leaves=6)


SIZES = [(a, b) for a in (0, 1, 2, 5) for b in (0, 1, 3)]


def value(number: Number, a: int, b: int) -> int:
    """``number`` with sizes put in."""
    if isinstance(number, int):
        return number
    sizes = {"a": a, "b": b}
    total = 0
    for monomial, n in number.terms:
        for atom in monomial:
            n *= sizes[atom]
        total += n
    return total


@given(expressions())
def test_a_polynomial_has_the_value_of_its_expression_at_every_size(f: Expression) -> None:
    number = f(symbol("a"), symbol("b"))
    assert all(value(number, a, b) == f(a, b) for a, b in SIZES)
    low = lower_bound(number)
    assert low is None or all(low <= f(a, b) for a, b in SIZES)


@given(expressions(), expressions())
def test_what_is_decided_holds_at_every_size(f: Expression, g: Expression) -> None:
    one, other = f(symbol("a"), symbol("b")), g(symbol("a"), symbol("b"))
    for decided, holds in (
        (equal(one, other), lambda a, b: f(a, b) == g(a, b)),
        (less(one, other), lambda a, b: f(a, b) < g(a, b)),
    ):
        assert decided is None or all(holds(a, b) == decided for a, b in SIZES)


@given(expressions(), st.integers(1, 6))
def test_a_quotient_that_is_found_is_exact_or_opaque(f: Expression, by: int) -> None:
    number = f(symbol("a"), symbol("b"))
    quotient = divide(number, by)
    if isinstance(quotient, int):
        assert all(int(f(a, b) / by) == quotient for a, b in SIZES)
    elif quotient is not None and all(atom in "ab" for m, _ in quotient.terms for atom in m):
        assert all(value(quotient, a, b) * by == f(a, b) for a, b in SIZES)


def test_equal_expressions_are_one_polynomial() -> None:
    a, b = symbol("a"), symbol("b")
    assert divide(a * 12 * b, 4) == b * 3 * a
    assert a + b - a == b
    assert str(a * b * 2 - 1) == "-1 + 2*a*b"


def test_a_size_is_never_negative_and_any_number_may_be() -> None:
    size, number = symbol("n"), symbol(ANY_SIGN + "n")
    assert equal(size, -1) is False
    assert equal(number, -1) is None
    assert less(-1, size) is True
    assert less(size, 0) is False
    assert less(number, 0) is None


def test_opaque_quotients_are_equal_when_their_text_is() -> None:
    n = symbol("n")
    assert divide(n + 1, 2) == divide(1 + n, 2)
    assert isinstance(divide(n + 1, 2), Poly)
    assert divide(n - 1, 2) is None
    assert divide(-7, 2) == -3
    assert modulo(n * 4, 2) == 0
    assert modulo(7, 4) == 3
    assert modulo(n - 1, 2) is None


@given(expressions(), expressions())
def test_a_quotient_times_its_divisor_is_the_dividend(f: Expression, g: Expression) -> None:
    a, b = f(symbol("a"), symbol("b")), g(symbol("a"), symbol("b"))
    found = exact_quotient(a, b)
    assert found is None or equal(found * b, a)
    again = exact_quotient(a * b, b)
    terms = 1 if isinstance(b, int) else len(b.terms)
    assert terms != 1 or b == 0 or equal(again, a)  # type: ignore[arg-type]


def test_a_quotient_that_is_none() -> None:
    a, b = symbol("a"), symbol("b")
    assert exact_quotient(a * b + 1, a) is None
    assert exact_quotient(3 * a, 2) is None
    assert exact_quotient(a, a * a) is None
    assert exact_quotient(a, a + b) is None
    assert exact_quotient(a, 0) is None
