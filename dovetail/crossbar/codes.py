"""Weights as signed integers of a dynamic fixed-point grid: what bit slices are cut from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean

Ints = NDArray[np.int32]
Floats = NDArray[np.float64]
SCOPES = ("layer", "row", "group")
MAX_BITS = 12


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """A grid of integers whose range is the power of two at or above the largest weight (arXiv 1909.08496).

    Parameters
    ----------
    bits : int
        Of the magnitude; the sign is beside it. 1 to 12.
    per : str
        What shares a scale: the whole ``layer``, each output ``row``, or a ``group`` of a row's inputs.
    group : int
        Inputs of a group; the last one of a row may be smaller.

    Raises
    ------
    DovetailError
        Bits out of range, an unknown scope, a group without inputs.
    """

    bits: int = 8
    per: str = "layer"
    group: int = 128

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise DovetailError(f"no grid of {self.bits} bits", where="bits", hint=f"1 to {MAX_BITS}; 8 is usual")
        if self.per not in SCOPES:
            hint = did_you_mean(self.per, list(SCOPES))
            raise DovetailError(f"no scale per '{self.per}'", where="per", hint=hint)
        if self.group < 1:
            raise DovetailError(f"a group of {self.group} inputs", where="group", hint="128: the rows of an array")

    @property
    def top(self) -> int:
        """The largest magnitude. A weight that would round to the power of two itself is clamped to it, so that the
        top slice fits its cell.
        """
        return (1 << self.bits) - 1

    def steps(self, weights: Floats) -> Floats:
        """What one code stands for, shape (outputs, groups): one group where rows or layers share a scale."""
        largest = np.abs(weights)
        if self.per == "layer":
            maxima = np.full((len(weights), 1), largest.max())
        elif self.per == "row":
            maxima = largest.max(axis=1, keepdims=True)
        else:
            maxima = np.maximum.reduceat(largest, np.arange(0, weights.shape[1], self.group), axis=1)
        return np.exp2(range_exponent(maxima) - self.bits)

    def codes(self, weights: Any, name: str = "weights") -> Codes:
        """The nearest codes of a matrix.

        Parameters
        ----------
        weights : array_like, shape (outputs, inputs)
        name : str
            For messages.

        Raises
        ------
        DovetailError
            No matrix, nothing in it, or values that are not finite.
        """
        matrix = finite_matrix(weights, name)
        steps = self.steps(matrix)
        scaled = np.abs(matrix) / self._spread(steps, matrix.shape[1])
        magnitude = np.minimum(np.rint(scaled), self.top)
        return Codes((np.sign(matrix) * magnitude).astype(np.int32), steps, self)

    def _spread(self, steps: Floats, inputs: int) -> Floats:
        return np.repeat(steps, self.group, axis=1)[:, :inputs] if steps.shape[1] > 1 else steps


@dataclass(frozen=True, slots=True)
class Codes:
    """A coded matrix.

    Parameters
    ----------
    values : array of int32, shape (outputs, inputs)
        Between ``-grid.top`` and ``grid.top``.
    steps : array, shape (outputs, groups)
        Powers of two.
    grid : FixedPoint
    """

    values: Ints
    steps: Floats
    grid: FixedPoint

    @property
    def shape(self) -> tuple[int, int]:
        """(outputs, inputs)."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def group(self) -> int:
        """Inputs that share a step: all of them where there is one step a row."""
        return self.grid.group if self.steps.shape[1] > 1 else self.shape[1]

    def weights(self) -> Floats:
        """What the codes stand for, shape (outputs, inputs)."""
        return self.values * self.grid._spread(self.steps, self.shape[1])


def range_exponent(maxima: Floats) -> Floats:
    """``ceil(log2(maxima))`` without the rounding of a logarithm; 0 for a maximum of 0."""
    fraction, exponent = np.frexp(maxima)
    return np.where(maxima > 0, exponent - (fraction == 0.5), 0).astype(np.float64)


def finite_matrix(weights: Any, name: str) -> Floats:
    """`weights` as float64, or why a crossbar cannot hold them."""
    matrix = np.asarray(weights, dtype=np.float64)
    if matrix.ndim != 2 or not matrix.size:
        why = f"shape {_shape(matrix.shape)}"
        hint = "a linear layer's (outputs, inputs); a convolution's weights as (outputs, inputs x kernel)"
        raise DovetailError("crossbars hold matrices", where=name, why=why, hint=hint)
    wrong = int(np.count_nonzero(~np.isfinite(matrix)))
    if wrong:
        row, column = np.argwhere(~np.isfinite(matrix))[0]
        why = f"{wrong} of {matrix.size} weights, the first at [{row}, {column}]: {matrix[row, column]}"
        hint = "a checkpoint that was trained without overflow: a conductance is a finite number"
        raise DovetailError("weights that are not finite", where=name, why=why, hint=hint)
    return matrix


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a single number"
