"""Hypervolume: how much of objective space a front dominates; all objectives are minimised.

By the WFG algorithm: the exclusive volume of one point after the other, against the points that come after it, each
limited to the box that the point dominates. While, Bradstreet and Barone, "A fast way of calculating exact
hypervolumes", IEEE Trans. Evolutionary Computation 16(1), 2012.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dovetail.search.pareto import front

Costs = NDArray[np.float64]


def hypervolume(costs: Costs, reference: Costs) -> float:
    """Volume dominated by the rows of `costs` (rows, objectives) up to `reference` (objectives,)."""
    inside = np.asarray(costs, float)[(np.asarray(costs) < reference).all(axis=1)]
    return _volume(reference - inside[front(inside)]) if len(inside) else 0.0


def _volume(sides: Costs) -> float:
    """Volume of the union of boxes from the origin with these sides, none inside another."""
    if len(sides) == 1:
        return float(np.prod(sides[0]))
    if sides.shape[1] == 1:
        return float(sides.max())
    if sides.shape[1] == 2:
        order = np.argsort(-sides[:, 0])
        width, height = sides[order, 0], np.maximum.accumulate(sides[order, 1])
        steps = np.diff(np.concatenate(([0.0], height)))
        return float((width * steps).sum())
    sides = sides[np.argsort(sides[:, -1])]  # the last objective grows: limited boxes have one objective less
    total = 0.0
    for i, own in enumerate(sides):
        rest = np.minimum(sides[i + 1 :, :-1], own[:-1])
        covered = _volume(rest[front(-rest)]) if len(rest) else 0.0
        total += own[-1] * (float(np.prod(own[:-1])) - covered)
    return total


def together(fronts: Sequence[Costs]) -> list[float]:
    """Hypervolume of several fronts, each from 0 (nothing) to 1 (all of it), in one scale.

    Objectives are taken by logarithm where all values have one sign, and run from the ideal to the nadir of the union's
    front; the reference is 10 % beyond the nadir, so that the ends of a front count.
    """
    union = np.concatenate([f for f in fronts if len(f)])
    sign = np.where(union[:1] < 0, -1.0, 1.0)
    logs = ((union * sign) > 0).all(axis=0)

    def scaled(costs: Costs) -> Costs:
        size = np.where(logs, costs * sign, 1.0)
        return np.asarray(np.where(logs, sign * np.log(size), costs), float)

    best = scaled(union[front(union)])
    low, span = best.min(axis=0), np.ptp(best, axis=0)
    span = np.where(span > 0, span, 1.0)
    reference = np.full(union.shape[1], 1.1)
    return [hypervolume((scaled(f) - low) / span, reference) / 1.1 ** union.shape[1] if len(f) else 0.0 for f in fronts]
