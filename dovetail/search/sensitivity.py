"""What decides each objective: a functional ANOVA over the space, exact where that costs no more than a sample.

Of an objective's variance (that of its logarithm) a choice explains a share by itself (`alone`: the variance of the
means at each of its values), and a share would be gone if it were fixed (`total`, interactions included: the mean of
the variances along it). On a full product of choices both are sums over all points. Else points are drawn evenly, and
pairs that differ in nothing else, or share nothing else, estimate them: Saltelli et al., Computer Physics
Communications 181, 2010; Jansen, Computer Physics Communications 117, 1999. No share alone is above its total; where
the noise of a draw says so, the two cannot be told apart, and both become their mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.search.answer import Evaluator, ask
from dovetail.search.lattice import Lattice
from dovetail.search.space import Space

DRAWS = 2048
_NOTHING = 1e-12  # variance of an objective that never differs
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Share:
    """Of one objective's variance: what one choice explains `alone`, and with all its interactions in `total`."""

    objective: str
    choice: str
    alone: float
    total: float


def sensitivity(space: Space, evaluate: Evaluator, draws: int = DRAWS, seed: int = 0) -> tuple[Share, ...]:
    """Shares of every objective and choice, the largest totals first; designs that do not fit have their numbers too.

    `draws` pairs are drawn for each choice, unless the space has no more points than that takes: then it is exact. Of a
    draw, pairs in which one has no value are left out; an objective that never differs has no shares.
    """
    lattice = Lattice(space.trimmed()[0])
    names = [name for name in _choices(lattice) if _most(lattice, name) > 1]
    exact = _exact(space, evaluate, lattice, names) if lattice.size <= draws * (len(names) + 2) else None
    found = _drawn(space, evaluate, lattice, names, draws, seed) if exact is None else exact
    order = {o.metric: k for k, o in enumerate(space.objectives)}
    return tuple(sorted(found, key=lambda share: (order[share.objective], -share.total)))


def _exact(space: Space, evaluate: Evaluator, lattice: Lattice, names: list[str]) -> list[Share] | None:
    """Shares from every point; None where machines differ in their axes, or a point has no value."""
    sides = [lattice.sides(machine) for machine in range(len(space.machines))]
    if any(list(each.items()) != list(sides[0].items()) for each in sides):
        return None
    values = _at(space, evaluate, lattice, np.arange(lattice.size))
    if not np.isfinite(values).all():
        return None
    _by_logarithm([values])
    shape, found = list(sides[0].values()), []
    for k, objective in enumerate(space.objectives):
        grid = values[:, k].reshape(shape)
        variance = float(np.var(grid))
        shares = {name: _exact_shares(grid, axis) for axis, name in enumerate(sides[0]) if name in names}
        found += [
            Share(objective.metric, name, alone / variance, total / variance)
            for name, (alone, total) in shares.items() if variance > _NOTHING
        ]  # fmt: skip
    return found


def _exact_shares(grid: Floats, axis: int) -> tuple[float, float]:
    """The variance of the means at each place of an axis, and the mean of the variances along it."""
    others = tuple(i for i in range(grid.ndim) if i != axis)
    total = float(np.mean(np.var(grid - grid.take([0], axis), axis=axis)))  # exactly 0 where nothing changes along it
    return min(float(np.var(np.mean(grid, axis=others))), total), total


def _drawn(
    space: Space, evaluate: Evaluator, lattice: Lattice, names: list[str], draws: int, seed: int
) -> list[Share]:  # fmt: skip
    """Shares from pairs of points that are drawn."""
    draw = np.random.default_rng(seed)
    first, second = draw.random((draws, len(names))), draw.random((draws, len(names)))
    mixed = [np.where(np.arange(len(names)) == i, second, first) for i in range(len(names))]
    values = [_values(space, evaluate, lattice, names, u) for u in (first, second, *mixed)]
    _by_logarithm(values)
    here, there, *moved = values
    found = []
    for name, other in zip(names, moved, strict=True):
        for k, objective in enumerate(space.objectives):
            shares = _shares(here[:, k], there[:, k], other[:, k])
            found += [] if shares is None else [Share(objective.metric, name, *shares)]
    return found


def _shares(here: Floats, there: Floats, moved: Floats) -> tuple[float, float] | None:
    known = np.isfinite(here) & np.isfinite(there) & np.isfinite(moved)
    a, b, ab = here[known], there[known], moved[known]
    variance = float(np.var(np.concatenate((a, b)))) if len(a) > 1 else 0.0
    if variance <= _NOTHING:
        return None
    alone = float(np.mean((b - b.mean()) * (ab - a))) / variance
    total = float(np.mean((a - ab) ** 2)) / 2 / variance
    alone, total = min(max(alone, 0.0), 1.0), min(max(total, 0.0), 1.0)
    return (alone, total) if alone <= total else ((alone + total) / 2,) * 2


def _by_logarithm(values: list[Floats]) -> None:
    """Replace each objective whose known values are all positive by its logarithm, in all of the arrays or in none."""
    for k in range(values[0].shape[1]):
        if all((each[:, k] > 0).sum() == np.isfinite(each[:, k]).sum() for each in values):
            for each in values:
                each[:, k] = np.log(each[:, k])


def _choices(lattice: Lattice) -> list[str]:
    return list(dict.fromkeys(n for m in range(len(lattice.space.machines)) for n in lattice.sides(m)))


def _most(lattice: Lattice, name: str) -> int:
    return max(lattice.sides(m).get(name, 1) for m in range(len(lattice.space.machines)))


def _values(space: Space, evaluate: Evaluator, lattice: Lattice, names: list[str], u: Floats) -> Floats:
    """Objectives (points, objectives) of the points at shares `u` (points, choices) of every axis."""
    numbers = np.asarray([_number(lattice, dict(zip(names, row, strict=True))) for row in u], np.int64)
    return _at(space, evaluate, lattice, numbers)


def _at(space: Space, evaluate: Evaluator, lattice: Lattice, numbers: NDArray[np.int64]) -> Floats:
    """Objectives (points, objectives) of points by their numbers; NaN where there is no finite one."""
    found = np.full((len(numbers), len(space.objectives)), np.nan)
    structures = np.searchsorted(lattice.offsets, numbers, side="right") - 1
    for structure in np.unique(structures):
        some = np.flatnonzero(structures == structure)
        rows = numbers[some] - int(lattice.offsets[structure])
        answer = ask(evaluate, lattice.structures[structure], lattice.columns(int(structure), rows))
        for k, objective in enumerate(space.objectives):
            values = answer.column(objective.metric)
            found[some, k] = np.where(np.isfinite(values), values, np.nan)
    return found


def _number(lattice: Lattice, shares: Mapping[str, float]) -> int:
    machine = int(shares.get("machine", 0.0) * len(lattice.space.machines))
    place = {n: int(shares.get(n, 0.0) * count) for n, count in lattice.sides(machine).items()}
    return lattice.index(place)
