"""What decides each objective: a functional ANOVA over the space, by Saltelli's and Jansen's estimators.

Points are drawn evenly; for each choice, pairs of points that differ in nothing else, or share nothing else, give the
share of an objective's variance (of its logarithm) that the choice explains by itself (`alone`), and the share that
would be gone if it were fixed (`total`, interactions included). Saltelli et al., Computer Physics Communications 181,
2010; Jansen, Computer Physics Communications 117, 1999.
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

    Pairs in which one has no value are left out; an objective that never differs has no shares.
    """
    lattice, draw = Lattice(space.trimmed()[0]), np.random.default_rng(seed)
    names = [name for name in _choices(lattice) if _most(lattice, name) > 1]
    first, second = draw.random((draws, len(names))), draw.random((draws, len(names)))
    here, there = (_values(space, evaluate, lattice, names, u) for u in (first, second))
    found = []
    for i, name in enumerate(names):
        mixed = first.copy()
        mixed[:, i] = second[:, i]
        moved = _values(space, evaluate, lattice, names, mixed)
        for k, objective in enumerate(space.objectives):
            shares = _shares(here[:, k], there[:, k], moved[:, k])
            found += [] if shares is None else [Share(objective.metric, name, *shares)]
    order = {o.metric: k for k, o in enumerate(space.objectives)}
    return tuple(sorted(found, key=lambda share: (order[share.objective], -share.total)))


def _shares(here: Floats, there: Floats, moved: Floats) -> tuple[float, float] | None:
    known = np.isfinite(here) & np.isfinite(there) & np.isfinite(moved)
    a, b, ab = here[known], there[known], moved[known]
    variance = float(np.var(np.concatenate((a, b)))) if len(a) > 1 else 0.0
    if variance <= 1e-12:
        return None
    alone = float(np.mean((b - b.mean()) * (ab - a))) / variance
    total = float(np.mean((a - ab) ** 2)) / 2 / variance
    return min(max(alone, 0.0), 1.0), min(max(total, 0.0), 1.0)


def _choices(lattice: Lattice) -> list[str]:
    return list(dict.fromkeys(n for m in range(len(lattice.space.machines)) for n in lattice.sides(m)))


def _most(lattice: Lattice, name: str) -> int:
    return max(lattice.sides(m).get(name, 1) for m in range(len(lattice.space.machines)))


def _values(space: Space, evaluate: Evaluator, lattice: Lattice, names: list[str], u: Floats) -> Floats:
    """Objectives (points, objectives) of the points at shares `u` (points, choices) of every axis, by logarithm."""
    numbers = np.asarray([_number(lattice, dict(zip(names, row, strict=True))) for row in u], np.int64)
    found = np.full((len(numbers), len(space.objectives)), np.nan)
    structures = np.searchsorted(lattice.offsets, numbers, side="right") - 1
    for structure in np.unique(structures):
        some = np.flatnonzero(structures == structure)
        rows = numbers[some] - int(lattice.offsets[structure])
        answer = ask(evaluate, lattice.structures[structure], lattice.columns(int(structure), rows))
        for k, objective in enumerate(space.objectives):
            values = answer.column(objective.metric)
            found[some, k] = np.log(values) if (values > 0).all() else values
    return found


def _number(lattice: Lattice, shares: Mapping[str, float]) -> int:
    machine = int(shares.get("machine", 0.0) * len(lattice.space.machines))
    place = {n: int(shares.get(n, 0.0) * count) for n, count in lattice.sides(machine).items()}
    return lattice.index(place)
