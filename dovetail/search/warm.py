"""Where a guided search begins: the front that a cheap evaluator sees."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dovetail.search.answer import Evaluator
from dovetail.search.exact import search
from dovetail.search.guided import guided
from dovetail.search.lattice import Lattice
from dovetail.search.result import Candidate, Result, distance_to_ideal, scaled
from dovetail.search.space import Space

EXACT = 2_000_000  # points up to which the cheap front is exact: seconds
LOOKS = 2000  # of a cheap guided search beyond that


def warm_start(space: Space, cheap: Evaluator, most: int, sampler: str = "auto", seed: int = 0) -> list[int]:
    """Numbers (`Lattice`, of the space without what its constraints exclude) of at most `most` designs to begin with.

    The pick of the cheap front first, then those of it that lie farthest from all before them; the nearest miss where
    no design is feasible. `sampler` and `seed` are of the cheap search of a space that is not small.
    """
    small = space.trimmed()[0]
    found = search(small, cheap) if small.size <= EXACT else guided(small, cheap, LOOKS, sampler=sampler, seed=seed)
    chosen = found.front or (() if found.nearest is None else (found.nearest,))
    lattice = Lattice(small)
    return [_number(lattice, chosen[i]) for i in _spread(found, chosen, most)]


def _number(lattice: Lattice, candidate: Candidate) -> int:
    s = candidate.structure
    place = {part: values.index(getattr(s, part)) for part, values in lattice.names.items()}
    for axis in lattice.space.axes_of(s.machine):
        place[axis.name] = int(np.argmin(np.abs(axis.values - float(candidate.point[axis.name]))))
    return lattice.index(place)


def _spread(found: Result, chosen: Sequence[Candidate], most: int) -> list[int]:
    """Some designs of a front, in an order of which every beginning is spread over it."""
    if len(chosen) < 2:
        return list(range(len(chosen)))
    costs = np.asarray([[float(o.cost(np.asarray(float(c[o.metric])))) for o in found.objectives] for c in chosen])
    places = scaled(costs)
    order = [chosen.index(found.winner) if found.winner in chosen else int(np.argmin(distance_to_ideal(costs)))]
    gap = np.full(len(chosen), np.inf)
    while len(order) < min(most, len(chosen)):
        gap = np.minimum(gap, np.linalg.norm(places - places[order[-1]], axis=1))
        gap[order] = -1.0
        order.append(int(np.argmax(gap)))
    return order
