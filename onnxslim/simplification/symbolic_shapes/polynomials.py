"""Integers that may be unknown: polynomials over the sizes of free dimensions.

Shape arithmetic is what exporters write around dynamic axes: ``batch · 12 · 64 // 64``. A value here is a Python int or
a :class:`Poly`; numpy's object arrays of them go through Gather, Concat and Slice as if they were numbers. Sizes are
never negative, so ``batch == -1`` is known to be false.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias, Union

#: A product of atoms, sorted; an atom is a name, or the text of an opaque quotient or remainder.
Monomial: TypeAlias = tuple[str, ...]
Number: TypeAlias = Union[int, "Poly"]

#: Atoms with this prefix may be negative; every other one is the size of a dimension or made of sizes.
ANY_SIGN = "±"


@dataclass(frozen=True)
class Poly:
    """A polynomial with integer coefficients that is not a plain integer; ``terms`` is sorted and has no zeros."""

    terms: tuple[tuple[Monomial, int], ...]

    def __add__(self, other: Number) -> Number:
        return _make_poly([*self.terms, *_terms(other)])

    def __mul__(self, other: Number) -> Number:
        return _make_poly((tuple(sorted(a + b)), m * n) for a, m in self.terms for b, n in _terms(other))

    def __neg__(self) -> Number:
        return self * -1

    def __sub__(self, other: Number) -> Number:
        return self + (-other)

    def __rsub__(self, other: Number) -> Number:
        return (-self) + other

    __radd__ = __add__
    __rmul__ = __mul__

    def __str__(self) -> str:
        return " + ".join("*".join([*([] if n == 1 and m else [str(n)]), *m]) for m, n in self.terms)


def symbol(name: str) -> Poly:
    """The size of a dimension, or (prefixed with :data:`ANY_SIGN`) any unknown integer."""
    return Poly((((name,), 1),))


def divide(a: Number, b: Number) -> Number | None:
    """``a / b`` as ONNX divides integers (towards zero), or None when nothing certain can be said."""
    if isinstance(b, int) and b > 0:
        if isinstance(a, int):
            return a // b if a >= 0 else -(-a // b)
        if all(n % b == 0 for _, n in a.terms):
            return _make_poly((m, n // b) for m, n in a.terms)
        if _is_never_negative(a):
            return symbol(f"({a})//{b}")
    return None


def exact_quotient(a: Number, b: Number) -> Number | None:
    """The ``q`` with ``q · b == a`` for all sizes, or None when there is none or ``b`` has more than one term."""
    terms = _terms(b)
    if len(terms) > 1 or b == 0:
        return None
    ((divisor, n),) = terms
    quotient_terms: list[tuple[Monomial, int]] = []
    for monomial, m in _terms(a) if a != 0 else ():
        atoms = list(monomial)
        if m % n or any(divisor.count(atom) > atoms.count(atom) for atom in divisor):
            return None
        for atom in divisor:
            atoms.remove(atom)
        quotient_terms.append((tuple(atoms), m // n))
    return _make_poly(quotient_terms)


def modulo(a: Number, b: Number) -> Number | None:
    """``a mod b`` for non-negative ``a`` and positive ``b``."""
    if isinstance(b, int) and b > 0 and _is_never_negative(a):
        if isinstance(a, int):
            return a % b
        return 0 if all(n % b == 0 for _, n in a.terms) else symbol(f"({a})%{b}")
    return None


def lower_bound(a: Number) -> int | None:
    """A lower bound of ``a`` for all sizes ≥ 0, if there is one."""
    if isinstance(a, int):
        return a
    if any(n < 0 or any(atom.startswith(ANY_SIGN) for atom in m) for m, n in a.terms if m):
        return None
    return sum(n for m, n in a.terms if not m)


def equal(a: Number, b: Number) -> bool | None:
    """Whether ``a == b`` for all sizes: True, False, or None when it depends."""
    gap = a - b
    if isinstance(gap, int):
        return gap == 0
    return False if less(gap, 0) or less(0, gap) else None


def less(a: Number, b: Number) -> bool | None:
    """Whether ``a < b`` for all sizes: True, False, or None when it depends."""
    low, high = lower_bound(b - a), lower_bound(a - b)
    if low is not None and low > 0:
        return True
    return False if high is not None and high >= 0 else None


def _is_never_negative(a: Number) -> bool:
    low = lower_bound(a)
    return low is not None and low >= 0


def _terms(number: Number) -> tuple[tuple[Monomial, int], ...]:
    return number.terms if isinstance(number, Poly) else (((), int(number)),)


def _make_poly(terms: Iterable[tuple[Monomial, int]]) -> Number:
    total: dict[Monomial, int] = {}
    for monomial, n in terms:
        total[monomial] = total.get(monomial, 0) + n
    terms = tuple(sorted((m, n) for m, n in total.items() if n))
    if not terms:
        return 0
    if len(terms) == 1 and not terms[0][0]:
        return terms[0][1]
    return Poly(terms)
