"""Designs that others are held against: few, feasible, and strong."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dovetail.search.pareto import front

MOST = 512
_WORTH = 32  # designs after which it is worth dropping what is beaten already


class Filter:
    """Objectives of at most `MOST` designs, less is better, shape (designs, objectives)."""

    def __init__(self, objectives: int) -> None:
        self.costs: NDArray[np.float64] = np.empty((0, objectives))

    def add(self, costs: NDArray[np.float64]) -> None:
        """Take in the objectives of feasible designs (rows, objectives)."""
        if len(costs):
            both = np.concatenate((self.costs, costs))
            self.costs = _strong(both[front(both)])

    def beats(self, best: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Where a design is nowhere worse than `best` (rows, objectives) and somewhere better.

        Equal is not enough: a point that ties with a design may come before it in the space.
        """
        beaten = np.zeros(len(best), bool)
        left = np.arange(len(best))
        for i, design in enumerate(self.costs):
            if not len(left):
                break
            rows = best[left]
            lost = np.logical_and.reduce([rows[:, k] >= design[k] for k in range(len(design))])
            lost &= np.logical_or.reduce([rows[:, k] > design[k] for k in range(len(design))])
            beaten[left[lost]] = True
            if i % _WORTH == 0 or lost.mean() > 0.2:
                left = left[~lost] if i % _WORTH else np.flatnonzero(~beaten)
        return beaten


def _strong(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """At most `MOST` of a front, the strongest first: half by the sum of their ranks, half spread over the front."""
    ranks = np.argsort(np.argsort(costs, axis=0, kind="stable"), axis=0, kind="stable").sum(axis=1)
    order = np.argsort(ranks, kind="stable")
    if len(order) <= MOST:
        return np.asarray(costs[order])
    rest = order[MOST // 2 :]
    spread = rest[np.argsort(costs[rest, 0], kind="stable")][np.linspace(0, len(rest) - 1, MOST // 2).astype(int)]
    kept: NDArray[np.float64] = costs[np.concatenate((order[: MOST // 2], spread))]
    return kept
