"""Matrices as int8 with a multiplier for each output channel, or as codes of 4 bits with a step for each group."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dovetail.accel.arithmetic.multiplier import Multiplier, factor, multiplier
from dovetail.accel.arithmetic.nibbles import LEVELS, STEPS, decode
from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.graph import Reals

DAMPING = 0.01  # of the mean diagonal, added to the moments so that their inverse exists

Row = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Integers that stand for ``values * mantissa * 2**-shift``, row by row.

    Parameters
    ----------
    name : str
    values : (outputs, inputs) int8
        What the array multiplies by.
    mantissa, shift : (outputs,) int64
    codes : (outputs, inputs) int8 or None
        Of 4 bits, where the matrix is stored in 4: ``values = codes * steps`` of the group.
    steps : (outputs, ceil(inputs / group)) int8 or None
    group : int
        Inputs to a step; 0 for 8 bits.
    """

    name: str
    values: npt.NDArray[np.int8]
    mantissa: Ints
    shift: Ints
    codes: npt.NDArray[np.int8] | None = None
    steps: npt.NDArray[np.int8] | None = None
    group: int = 0

    @property
    def bits(self) -> int:
        """Stored bits of a weight, without steps and multipliers."""
        return 8 if self.codes is None else 4

    def reals(self) -> Row:
        """What the integers stand for: (outputs, inputs)."""
        return self.values * factor(Multiplier(self.mantissa, self.shift))[:, None]


def in_eight_bits(name: str, weight: Reals) -> Matrix:
    """Nearest integers to each row over its largest magnitude / 127."""
    top = np.abs(weight).max(axis=1).astype(np.float64)
    scale = _scales(top / 127)
    values = np.clip(np.rint(weight / _divisor(scale)[:, None]), -127, 127).astype(np.int8)
    return Matrix(name, values, scale.mantissa, scale.shift)


def in_four_bits(name: str, weight: Reals, group: int, moments: Row | None = None) -> Matrix:
    """Codes that keep the layer's output near what it was on the calibration text.

    Columns are rounded one after the other, and what rounding one of them costs is made up for by those that are left
    (GPTQ, arXiv 2210.17323). Here the levels are the hardware's: integers 1 to 16 of one unit for each row.

    Parameters
    ----------
    weight : (outputs, inputs)
    group : int
        Inputs to a step.
    moments : (inputs, inputs), optional
        ``x.T @ x`` of the inputs; without it every column is rounded to its nearest level.
    """
    left = weight.astype(np.float64)
    inputs = left.shape[1]
    unit = _scales(np.abs(left).max(axis=1) / (LEVELS - 1) / STEPS)
    size = _divisor(unit)
    spread = np.eye(inputs) if moments is None else _spread(moments)
    codes, steps = np.zeros(left.shape, np.int8), []
    for begin in range(0, inputs, group):
        columns = slice(begin, min(begin + group, inputs))
        importance = 1 / np.diag(spread)[columns] ** 2
        step = _best_steps(left[:, columns], size, importance)
        codes[:, columns], errors = _rounded(left[:, columns], step * size, spread[columns, columns])
        left[:, columns.stop :] -= errors @ spread[columns, columns.stop :]
        steps.append(step)
    of_groups = np.stack(steps, axis=1).astype(np.int8)
    values = decode(codes.astype(np.int64), of_groups.astype(np.int64), group).astype(np.int8)
    return Matrix(name, values, unit.mantissa, unit.shift, codes, of_groups, group)


def _spread(moments: Row) -> Row:
    """Upper factor of the inverse of the damped moments: row k says where the error of column k goes."""
    damped = moments + DAMPING * max(float(np.diag(moments).mean()), 1e-12) * np.eye(moments.shape[0])
    return np.asarray(np.linalg.cholesky(np.linalg.inv(damped)).T)


def _best_steps(columns: Row, unit: Row, importance: Row) -> Row:
    """The step of each row with the least weighted squared error over a group: (outputs,) of 1 to 16."""
    least, best = np.full(len(columns), np.inf), np.ones(len(columns))
    for step in range(1, STEPS + 1):
        level = step * unit[:, None]
        error = ((_codes(columns, level) * level - columns) ** 2 * importance).sum(axis=1)
        better = error < least
        least, best = np.where(better, error, least), np.where(better, step, best)
    return best


def _rounded(columns: Row, level: Row, spread: Row) -> tuple[npt.NDArray[np.int8], Row]:
    """Codes of a group, and the scaled errors that later columns make up for."""
    left, codes, errors = columns.copy(), np.zeros(columns.shape, np.int8), np.zeros(columns.shape)
    for k in range(columns.shape[1]):
        code = _codes(left[:, k], level)
        codes[:, k] = code
        errors[:, k] = (left[:, k] - code * level) / spread[k, k]
        left[:, k + 1 :] -= errors[:, k, None] * spread[k, k + 1 :]
    return codes, errors


def _codes(values: Row, level: Row) -> Row:
    return np.clip(np.rint(values / level), -LEVELS, LEVELS - 1)


def _scales(wanted: Row) -> Multiplier:
    """Multipliers of rows; a row of zeros has the largest shift of the others, so that it binds nothing."""
    found = multiplier(wanted)
    used = found.mantissa > 0
    return Multiplier(found.mantissa, np.where(used, found.shift, found.shift[used].max(initial=15)))


def _divisor(scale: Multiplier) -> Row:
    return np.where(scale.mantissa > 0, factor(scale), 1.0)
