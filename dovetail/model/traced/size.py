"""Numbers of elements as exact polynomials of the batch and of the new tokens: plain data, evaluated on arrays."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class Size:
    """Sum of ``coefficient * batch**b * tokens**t`` over `terms`, ordered and without zeros.

    Parameters
    ----------
    terms : tuple of (int, int, int)
        ``(b, t, coefficient)`` of each monomial.
    """

    terms: tuple[tuple[int, int, int], ...] = ()

    @staticmethod
    def of(value: int) -> Size:
        """A constant."""
        return Size(((0, 0, value),) if value else ())

    def __mul__(self, other: Size) -> Size:
        return _collect(
            (b1 + b2, t1 + t2, c1 * c2) for b1, t1, c1 in self.terms for b2, t2, c2 in other.terms
        )  # fmt: skip

    def __add__(self, other: Size) -> Size:
        return _collect((*self.terms, *other.terms))

    @property
    def degree(self) -> int:
        """Highest power of the tokens."""
        return max((t for _, t, _ in self.terms), default=0)

    @property
    def constant(self) -> int | None:
        """Its value where it depends on neither; None otherwise."""
        if not self.terms:
            return 0
        (b, t, c), *rest = self.terms
        return c if not rest and b == t == 0 else None

    def over(self, other: Size) -> int | None:
        """The whole number of times that a monomial `other` goes into it; None where it is not one."""
        if len(self.terms) != 1 or len(other.terms) != 1:
            return None
        (b, t, c), (b2, t2, c2) = self.terms[0], other.terms[0]
        return c // c2 if (b, t) == (b2, t2) and c % c2 == 0 else None

    def at(self, batch: Number, tokens: Number) -> Number:
        """Its value for so many sequences of so many new tokens; arrays broadcast."""
        return sum((c * batch**b * tokens**t if b or t else c) for b, t, c in self.terms)


BATCH, TOKENS = Size(((1, 0, 1),)), Size(((0, 1, 1),))


@dataclass(frozen=True, slots=True)
class Ratio:
    """One size over another that is not zero."""

    above: Size
    below: Size

    def at(self, batch: Number, tokens: Number) -> Number:
        """Its value, as `Size.at`."""
        return self.above.at(batch, tokens) / self.below.at(batch, tokens)


def times(sizes: Iterable[Size]) -> Size:
    """Their product; 1 of none."""
    return prod(sizes, start=Size.of(1))


def size_of(extent: Any, symbols: dict[Any, Size]) -> Size:
    """The polynomial of one dimension, a number or a symbolic integer of torch, in which `symbols` stand for sizes.

    Raises
    ------
    ValueError
        It is no polynomial with whole coefficients of these symbols.
    """
    if isinstance(extent, int):
        return Size.of(extent)
    import sympy  # torch brings it

    expression = extent.node.expr
    free = sorted(expression.free_symbols, key=str)
    if not free:
        return Size.of(int(expression))
    if not set(free) <= symbols.keys():
        raise ValueError(f"{expression} depends on the data")
    try:
        terms = sympy.Poly(expression, *free).terms()
        return sum((_monomial(powers, c, free, symbols) for powers, c in terms), start=Size())
    except sympy.PolynomialError:
        raise ValueError(f"{expression} is not a polynomial of batch and tokens") from None


def _monomial(powers: tuple[int, ...], coefficient: Any, free: list[Any], symbols: dict[Any, Size]) -> Size:
    if not coefficient.is_Integer:
        raise ValueError(f"{coefficient} is not a whole number")
    factors = (symbols[s] for s, power in zip(free, powers, strict=True) for _ in range(power))
    return Size.of(int(coefficient)) * times(factors)


def _collect(terms: Iterable[tuple[int, int, int]]) -> Size:
    found: dict[tuple[int, int], int] = {}
    for b, t, c in terms:
        found[b, t] = found.get((b, t), 0) + c
    return Size(tuple((b, t, c) for (b, t), c in sorted(found.items()) if c))
