"""The exact multiple-choice knapsack: one choice for each group, least loss, every resource within its limit.

Partial choices are extended group by group. One is dropped where another needs no more of any resource and loses no
more (Nemhauser and Ullmann, Management Science 15, 1969), or where even the best of what is left cannot make it fit or
beat a solution that is known: a bound by Lagrange multipliers (Fisher, Management Science 27, 1981).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError

Array = NDArray[np.float64]
Places = NDArray[np.int64]
_MOST_STATES = 400_000  # partial choices at once: 20 MB for each resource
_MOST_COMPARED = 100_000  # where there are several resources, and each is held against all that stay
_STEPS = 300  # of the subgradient method
_TRIED = 8  # different choices of its that are improved
_PAIRS = 4_000_000  # pairs of changes that are looked at together
_SLACK = 1e-12  # of a sum of floats, relative


def solve(losses: Sequence[Array], needs: Sequence[Array], limits: Array) -> tuple[int, ...] | None:
    """The choice of every group with the least total loss; None where nothing fits.

    Parameters
    ----------
    losses : sequence of (choices,)
        Of each group.
    needs : sequence of (choices, resources)
        Of each group, in the order of `losses`.
    limits : (resources,)
        Of the totals; infinity for none.

    Raises
    ------
    DovetailError
        More partial choices than memory holds: several resources of many groups that nothing dominates.
    """
    limits = np.asarray(limits, float)
    limits = limits + _SLACK * np.abs(np.where(np.isfinite(limits), limits, 0.0))
    order = sorted(range(len(losses)), key=lambda i: -float(np.ptp(np.asarray(needs[i]), axis=0).max(initial=0.0)))
    loss, need = _padded([losses[i] for i in order], [needs[i] for i in order], len(limits))
    found = _search(loss, need, limits)
    if found is None:
        return None
    places = dict(zip(order, found, strict=True))
    return tuple(places[i] for i in range(len(order)))


def _padded(losses: Sequence[Array], needs: Sequence[Array], resources: int) -> tuple[Array, Array]:
    """(groups, choices) and (groups, choices, resources); choices that a group lacks lose infinitely much."""
    most = max(map(len, losses), default=0)
    loss, need = np.full((len(losses), most), np.inf), np.zeros((len(losses), most, resources))
    for i, (some, wants) in enumerate(zip(losses, needs, strict=True)):
        loss[i, : len(some)], need[i, : len(some)] = some, wants
        need[i, len(some) :] = np.asarray(wants)[0]
    return loss, need


def _search(loss: Array, need: Array, limits: Array) -> tuple[int, ...] | None:
    prices, known = _multipliers(loss, need, limits)
    kept = _promising(loss, need, prices, limits, known)
    least = _tails(need.min(1))
    bounds = _tails((loss + need @ prices).min(1)[:, None])
    used, lost = np.zeros((1, len(limits))), np.zeros(1)
    trail: list[tuple[Places, Places]] = []
    for index, choices in enumerate(kept):
        if not len(choices):
            return None
        total = (lost[:, None] + loss[index, choices]).ravel()
        wants = (used[:, None, :] + need[index, choices]).reshape(-1, len(limits))
        lower = total + _due(wants, prices, limits) + bounds[index + 1]
        fits = (wants + least[index + 1] <= limits).all(1) & (lower <= known + _margin(known))
        places = np.flatnonzero(fits)
        if not len(places):
            return None
        _check_states(len(places), len(limits))
        places = places[_undominated(wants[places], total[places])]
        trail.append((places // len(choices), choices[places % len(choices)]))
        used, lost = wants[places], total[places]
    return _traced(trail, int(np.argmin(lost)))


def _check_states(count: int, resources: int) -> None:
    """Refuse more partial choices than memory holds or, of several resources, than can be compared in minutes."""
    if count > (_MOST_STATES if resources < 2 else _MOST_COMPARED):
        what, hint = "too many ways to share out the bits", "fewer widths, or fewer limits at once"
        raise DovetailError(what, why=f"{count:,} stay open", hint=hint, exit_code=INFEASIBLE)


def _margin(known: float) -> float:
    return _SLACK * abs(known) if np.isfinite(known) else 0.0


def _due(used: Array, prices: Array, limits: Array) -> Array:
    """What `used` (points, resources) costs beyond the limits at the multipliers' prices: (points,)."""
    priced = prices > 0
    due: Array = used[:, priced] @ prices[priced] - float(limits[priced] @ prices[priced])
    return due


def _promising(loss: Array, need: Array, prices: Array, limits: Array, known: float) -> list[Places]:
    """Places of the choices with which the bound does not yet exceed a solution that is known."""
    priced = loss + need @ prices
    best = priced.min(1)
    bound = float(best.sum() + _due(np.zeros((1, len(limits))), prices, limits)[0])
    room = known - bound + _margin(known)
    return [np.flatnonzero((row - low <= room) & np.isfinite(row)) for row, low in zip(priced, best, strict=True)]


def _tails(parts: Array) -> Array:
    """Sums of the parts (groups, …) from each place on; zeros at the end."""
    return np.concatenate([np.cumsum(parts[::-1], axis=0)[::-1], np.zeros((1, *parts.shape[1:]))])


def _undominated(wants: Array, total: Array) -> Places:
    """Places of the points that no other one is at least as good as in everything, the first of equals."""
    columns = np.column_stack([wants, total])
    columns = columns[:, np.ptp(columns, axis=0) > 0]
    if not columns.shape[1]:
        return np.zeros(1, dtype=np.int64)
    order = np.lexsort(columns.T[::-1])
    ranked = columns[order, 1:]
    if columns.shape[1] == 1:
        return order[:1]
    if columns.shape[1] == 2:
        best = np.concatenate([[np.inf], np.minimum.accumulate(ranked[:, 0])[:-1]])
        return np.sort(order[ranked[:, 0] < best])
    kept: list[int] = []
    front = np.empty((0, ranked.shape[1]))
    for place, point in zip(order, ranked, strict=True):
        if not (front <= point).all(1).any():
            kept.append(int(place))
            front = np.vstack([front[~(point <= front).all(1)], point])
    return np.sort(np.array(kept))


def _multipliers(loss: Array, need: Array, limits: Array) -> tuple[Array, float]:
    """Prices of the resources that bound the loss from below, and a loss that can be had."""
    worth = float(np.where(np.isfinite(loss), loss, -np.inf).max(1).sum() - loss.min(1).sum())
    scale = np.ptp(need, axis=1).sum(0)
    bounded = np.isfinite(limits) & (scale > 0)
    safe, caps = np.where(scale > 0, scale, 1.0), np.where(bounded, limits, 0.0)
    prices, best, highest = np.zeros(len(limits)), np.zeros(len(limits)), -np.inf
    rows, met = np.arange(len(loss)), dict[tuple[int, ...], float]()
    for step in range(_STEPS):
        picks = np.argmin(loss + need @ prices, axis=1)
        used, lost = need[rows, picks].sum(0), float(loss[rows, picks].sum())
        over = np.where(bounded, used - caps, 0.0)
        if (used <= limits).all():
            met[tuple(map(int, picks))] = lost
        if (lower := lost + float(over @ prices)) > highest:
            highest, best = lower, prices
        prices = np.maximum(0.0, prices + np.where(bounded, worth / safe * over / safe, 0.0) * (4.0 / (1 + 0.2 * step)))
    few = sorted(met, key=lambda picks: met[picks])[:_TRIED]
    return best, min((_improved(loss, need, np.array(picks), limits) for picks in few), default=np.inf)


def _improved(loss: Array, need: Array, picks: Places, limits: Array) -> float:
    """The loss of a solution after the best changes, of one group or of two at a time, that still fit."""
    rows = np.arange(len(loss))
    groups = np.repeat(rows, loss.shape[1])
    pairs = len(groups) ** 2 <= _PAIRS
    while True:
        left = limits - need[rows, picks].sum(0)
        more = (need - need[rows, picks][:, None]).reshape(len(groups), -1)
        gain = (loss[rows, picks][:, None] - loss).ravel()
        if pairs:
            fits = (more[:, None] + more <= left).all(2) & (groups[:, None] != groups)
            first, second = np.unravel_index(int(np.argmax(np.where(fits, gain[:, None] + gain, -np.inf))), fits.shape)
            changes = [int(first), int(second)]
        else:
            changes = [int(np.argmax(np.where((more <= left).all(1), gain, -np.inf)))]
        after = picks.copy()
        after[groups[changes]] = np.array(changes) % loss.shape[1]
        if not loss[rows, after].sum() < loss[rows, picks].sum() - _SLACK or (need[rows, after].sum(0) > limits).any():
            return float(loss[rows, picks].sum())
        picks = after


def _traced(trail: list[tuple[Places, Places]], place: int) -> tuple[int, ...]:
    """The choices that led to a place of the last step."""
    found: list[int] = []
    for parents, picks in reversed(trail):
        found.append(int(picks[place]))
        place = int(parents[place])
    return tuple(reversed(found))
