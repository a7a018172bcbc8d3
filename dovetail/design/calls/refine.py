"""Least absolute log errors along all constants at once, where a search along one at a time stops at a kink.

Iteratively reweighted least squares (Holland and Welsch, 1977), damped after Levenberg (1944) and Marquardt (1963).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from dovetail.design.calls.table import Array

Constants = TypeVar("Constants", bound=Any)  # a dataclass of numbers
STEP = 1e-4  # of a logarithm, for slopes
SHARP = 1e-3  # log error below which the loss is taken as square
ROUNDS, STIFFEST = 60, 1e6


def refine(
    found: Constants, typical: Constants, names: Sequence[str], log_errors: Callable[[Constants], Sequence[Array]], *,
    limits: Mapping[str, tuple[float, float]], pull: float,
) -> Constants:  # fmt: skip
    """`found` moved further down the loss of `dovetail.design.kernel_fit.fit`, whose parameters these are.

    Never worse than `found`; the same where nothing helps.
    """
    start = np.log([getattr(typical, name) for name in names])
    low, high = np.log(np.maximum([limits.get(name, (0.0, np.inf)) for name in names], 1e-300)).T
    low, high = np.where(low < -600, -np.inf, low), np.where(high > 600, np.inf, high)

    def errors(place: Array) -> tuple[Array, Array]:
        groups = log_errors(_at(found, names, place))
        weights = [np.full(len(group), 1.0 / (len(group) * len(groups))) for group in groups]
        return np.concatenate(groups), np.concatenate(weights)

    def value_of(place: Array, error: Array, weight: Array) -> float:
        return float(weight @ np.abs(error) + pull * np.sum((place - start) ** 2))

    place = np.log([getattr(found, name) for name in names])
    error, weight = errors(place)
    value, damping = value_of(place, error, weight), 1e-2
    for _ in range(ROUNDS):
        slopes = np.stack([(errors(place + STEP * one)[0] - error) / STEP for one in np.eye(len(names))], axis=1)
        weights = weight / np.maximum(np.abs(error), SHARP)
        normal = slopes.T @ (weights[:, None] * slopes) + 2 * pull * np.eye(len(names))
        downhill = -(slopes.T @ (weights * error) + 2 * pull * (place - start))
        before = value
        while damping < STIFFEST:
            moved = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), downhill)
            trial = np.clip(place + np.clip(moved, -0.5, 0.5), low, high)
            trial_error, _ = errors(trial)
            if (lower := value_of(trial, trial_error, weight)) < value:
                place, error, value, damping = trial, trial_error, lower, damping / 5
                break
            damping *= 4
        if value > before * (1 - 1e-4):
            break
    return _at(found, names, place)


def loss(
    found: Constants, typical: Constants, names: Sequence[str], log_errors: Callable[[Constants], Sequence[Array]],
    pull: float,
) -> float:  # fmt: skip
    """What `refine` makes small: groups of calls weigh the same."""
    moved = np.log([getattr(found, name) / getattr(typical, name) for name in names])
    return float(np.mean([np.abs(errors).mean() for errors in log_errors(found)]) + pull * np.sum(moved**2))


def _at(constants: Constants, names: Sequence[str], place: Array) -> Constants:
    return replace(constants, **dict(zip(names, np.exp(place).tolist(), strict=True)))
