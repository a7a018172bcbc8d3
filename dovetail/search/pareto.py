"""The exact Pareto front of N points in M objectives, all minimised, in NumPy.

Two objectives take one sort and a running minimum. More take divide and conquer over the objectives (Kung, Luccio and
Preparata, "On finding the maxima of a set of vectors", J. ACM 22(4), 1975), O(N log^(M-2) N), on ranks instead of
values, behind a cheap filter by a few strong points that removes most rows of ordinary data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
_BRUTE = 1 << 12  # pairs compared at once rather than split further
_STRONG = 64  # rows of the first pass, at most
_WORTH = 0.995  # the first pass ends with a row that leaves more than this share


def front(costs: NDArray[Any]) -> Rows:
    """Row numbers of the non-dominated rows of `costs`, ascending.

    A row dominates another when it is nowhere larger and somewhere smaller. Of equal rows the first is kept, so the
    order of the rows decides ties and nothing else. Rows with NaN or an infinity are never on the front.

    Parameters
    ----------
    costs : array of shape (points, objectives)
        Finite values to minimise.

    Returns
    -------
    array of shape (front,)
        Indices into `costs`, ascending.
    """
    costs = np.asarray(costs, dtype=np.float64)
    kept = np.flatnonzero(np.isfinite(costs).all(axis=1))
    if costs.shape[1] == 0 or not len(kept):
        return kept[:1]
    kept = kept[_unbeaten(costs[kept])]
    kept = kept[_lexicographic(costs[kept])]
    if costs.shape[1] > 2:
        kept = kept[_undominated(costs[kept])]
    return np.sort(kept)


def _unbeaten(costs: NDArray[np.float64]) -> Rows:
    """Rows that none of a few strong rows dominates: a cheap first pass, exact in what it removes."""
    left = np.arange(len(costs))
    with np.errstate(over="ignore", invalid="ignore"):  # near the largest floats the order is poor, the result exact
        span = np.ptp(costs, axis=0)
        total = ((costs - costs.min(axis=0)) / np.where(span > 0, span, 1.0)).sum(axis=1)
    strong = np.argpartition(total, min(_STRONG, len(total) - 1))[:_STRONG]
    for one in strong[np.argsort(total[strong], kind="stable")]:
        rows, best = costs[left], costs[one]
        survives = np.logical_or.reduce([rows[:, k] < best[k] for k in range(len(best))]) | (rows == best).all(axis=1)
        if survives.sum() > _WORTH * len(left):
            break
        left = left[survives]
    return left


def _lexicographic(costs: NDArray[np.float64]) -> Rows:
    """Rows in lexicographic order (ties by row number) without repeats; for up to two objectives already the front."""
    dims = costs.shape[1]
    if dims == 1:
        return np.asarray([np.argmin(costs[:, 0])])
    order = np.lexsort(costs.T[::-1])  # stable: equal rows stay in the order given
    rows = costs[order]
    if dims == 2:
        best = np.minimum.accumulate(rows[:, 1])
        return order[np.concatenate(([True], rows[1:, 1] < best[:-1]))]
    return order[np.concatenate(([True], (rows[1:] != rows[:-1]).any(axis=1)))]


def _undominated(costs: NDArray[np.float64]) -> Rows:
    """Positions of the front among distinct rows in lexicographic order."""
    ranks = np.stack([np.unique(column, return_inverse=True)[1] for column in costs.T], axis=1).astype(np.int32)
    return _front(ranks)


def _front(ranks: NDArray[np.int32]) -> Rows:
    """Positions of the front among distinct rows in lexicographic order: a later row never dominates an earlier one."""
    count = len(ranks)
    if count * count <= _BRUTE:
        below = (ranks[:, None, :] <= ranks[None, :, :]).all(axis=2)  # below[i, j]: i is nowhere above j
        return np.flatnonzero(below.sum(axis=0) == 1)  # only the row itself
    half = count // 2
    first = _front(ranks[:half])
    second = half + _front(ranks[half:])
    alive = _survivors(ranks[first, 1:], ranks[second, 1:])
    return np.concatenate((first, second[alive]))


def _survivors(good: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of `rows` no row of `good` is nowhere above, shape (rows,)."""
    if not len(good) or not len(rows):
        return np.ones(len(rows), bool)
    if good.shape[1] == 2:
        return _survivors_of_two(good, rows)
    if len(good) * len(rows) <= _BRUTE:
        return np.asarray(~(good[:, None, :] <= rows[None, :, :]).all(axis=2).any(axis=0))
    return _split(good, rows)


def _split(good: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """`_survivors`, halved at the median of the last objective: only low good rows can be below high rows there."""
    pivot = np.partition(np.concatenate((good[:, -1], rows[:, -1])), (len(good) + len(rows)) // 2)[
        (len(good) + len(rows)) // 2
    ]
    low_good, low_rows = good[:, -1] < pivot, rows[:, -1] < pivot
    if not low_good.any() and not low_rows.any():
        low_good, low_rows = good[:, -1] <= pivot, rows[:, -1] <= pivot
        if low_good.all() and low_rows.all():  # one value: this objective tells nothing
            return _survivors(good[:, :-1], rows[:, :-1])
    alive = np.empty(len(rows), bool)
    alive[low_rows] = _survivors(good[low_good], rows[low_rows])
    high = np.flatnonzero(~low_rows)
    high = high[_survivors(good[low_good][:, :-1], rows[high][:, :-1])]
    alive[~low_rows] = False
    alive[high] = _survivors(good[~low_good], rows[high])
    return alive


def _survivors_of_two(good: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.bool_]:
    """`_survivors` for two objectives: the least second value among the good rows up to each first value."""
    order = np.argsort(good[:, 0], kind="stable")
    first, least = good[order, 0], np.minimum.accumulate(good[order, 1])
    place = np.searchsorted(first, rows[:, 0], side="right")
    return np.asarray((place == 0) | (least[np.maximum(place - 1, 0)] > rows[:, 1]))
