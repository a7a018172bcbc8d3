"""Proof that no accumulator overflows: the largest sum that the weights at hand allow, for any input whatever."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.accel.arithmetic.block import LARGEST
from dovetail.accel.arithmetic.product import ACCUMULATOR_BITS
from dovetail.accel.arithmetic.softmax import ONE
from dovetail.accel.golden import program as p
from dovetail.core.errors import INFEASIBLE, DovetailError

SQUARES_BITS = 63  # of the sum of squares: below 2**62, so that its root has a half exponent of 31


@dataclass(frozen=True, slots=True)
class Range:
    """The largest magnitude of a sum.

    Parameters
    ----------
    tensor : str
        The step's tensor.
    what : str
        Which of its sums.
    largest : int
        No input makes a larger one.
    available : int
        Bits of the accumulator, with the sign.
    """

    tensor: str
    what: str
    largest: int
    available: int

    @property
    def bits(self) -> int:
        """Signed bits that hold the sum."""
        return self.largest.bit_length() + 1


def ranges(steps: Sequence[p.Step], context: int, accumulator_bits: int = ACCUMULATOR_BITS) -> list[Range]:
    """Of every sum of the program, over at most `context` tokens."""
    forms = {step.name: step.form for step in steps}
    return [found for step in steps for found in _of(step, forms, context, accumulator_bits)]


def check(found: Sequence[Range]) -> None:
    """Raise `DovetailError` for the first sum that may overflow: the tensor, the bits it needs and has."""
    for each in found:
        if each.bits > each.available:
            why = f"{each.what} reach {each.largest:,}: {each.bits} bits, there are {each.available}"
            hint = "a wider accumulator, a shorter context, or fewer inputs to a sum"
            raise DovetailError(
                "an accumulator may overflow", where=each.tensor, why=why, hint=hint, exit_code=INFEASIBLE
            )


def _of(step: p.Step, forms: dict[str, p.Format], context: int, bits: int) -> Iterator[Range]:
    if isinstance(step, p.Product | p.Convolve):
        rows = np.abs(step.matrix.values.astype(np.int64)).sum(axis=1)
        yield Range(step.name, "sums of products", int(rows.max()) * LARGEST, bits)
    if isinstance(step, p.Attend):
        width = step.channels // step.heads
        yield Range(step.name, "scores", width * LARGEST**2, bits)
        yield Range(step.name, "weighted values", context * ONE * LARGEST, bits)
    if isinstance(step, p.Normalise):
        size, form = step.channels // step.heads, forms[step.inputs[0]]
        yield Range(step.name, "sums of squares", (size << (2 * form.bits - 2)) + step.norm.epsilon, SQUARES_BITS)
