"""Fit the learned residual: knots by least absolute error, pulled to smoothness and to zero, so few shapes suffice."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dovetail.cost.residual import Residual, places

Array = npt.NDArray[np.float64]
KNOTS = (6, 6, 4)
# What a bend and a height of 1 cost, squared, for each hundred calls; with the knots, the best of thirty choices where
# each shape to fit on was left out in turn (six folds of 23 to 25 shapes on each of three chips).
SMOOTH, SMALL = 0.01, 0.03
ROUNDS = 12


def fit_residual(
    m: Array, n: Array, k: Array, cores: float, log_error: Array, *, knots: tuple[int, int, int] = KNOTS,
    smooth: float = SMOOTH, small: float = SMALL,
) -> Residual:  # fmt: skip
    """The residual of calls, shape (calls,); `log_error` is ln(measured / analytic).

    Least absolute misses by iteratively reweighted least squares (Holland and Welsch, 1977).
    """
    at = np.stack(places(m, n, k, cores))
    low, high = _three(at.min(axis=1)), _three(np.maximum(at.max(axis=1), at.min(axis=1) + 1e-3))
    design = _shares(m, n, k, cores, low, high, knots)
    penalty = _penalty(knots, smooth, small) * (len(m) / 100)
    weights: Array = np.ones(len(m))
    values: Array = np.zeros(design.shape[1])
    for _ in range(ROUNDS):
        normal = design.T @ (weights[:, None] * design) + penalty
        values = np.asarray(np.linalg.solve(normal, design.T @ (weights * log_error)), dtype=float)
        weights = np.asarray(0.05 / np.maximum(np.abs(design @ values - log_error), 0.01), dtype=float)
    return Residual(low, high, values.reshape(knots))


def _three(values: Array) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _shares(
    m: Array, n: Array, k: Array, cores: float, low: tuple[float, float, float], high: tuple[float, float, float],
    knots: tuple[int, int, int],
) -> Array:  # fmt: skip
    """Each knot's share in each call, shape (calls, knots): the correction is linear in the knots."""
    bound = 0.25  # below the limit, which would bend it
    columns = []
    for index in range(int(np.prod(knots))):
        alone = np.zeros(knots)
        alone.flat[index] = bound
        columns.append(Residual(low, high, alone).correction(m, n, k, cores) / bound)
    return np.stack(columns, axis=1)


def _penalty(knots: tuple[int, int, int], smooth: float, small: float) -> Array:
    """Squares of second differences along each axis, and of the values."""
    total = small * np.eye(int(np.prod(knots)))
    for axis, count in enumerate(knots):
        bend = np.diff(np.eye(count), 2, axis=0) if count > 2 else np.zeros((1, count))
        parts = [bend if other == axis else np.eye(size) for other, size in enumerate(knots)]
        both = np.kron(np.kron(parts[0], parts[1]), parts[2])
        total += smooth * both.T @ both
    return total
