"""What a search found, from the archive: the front as candidates, the winner, and why there is none."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from dovetail.search.answer import Columns
from dovetail.search.archive import Archive
from dovetail.search.block import NO_VALUE
from dovetail.search.metrics import find, known
from dovetail.search.result import Candidate, Result, choose
from dovetail.search.space import Space, Structure

_MOST_RULES = 16  # constraints among which the smallest conflicting set is looked for


def result(
    space: Space, small: Space, pruned: tuple[tuple[str, int], ...], archive: Archive, resumed: int,
    notes: tuple[str, ...], method: str = "exact enumeration",
) -> Result:  # fmt: skip
    """The result of a search of `small`, the space after its constraints on axes."""
    structures, offsets = list(small.structures()), small.offsets()

    def structure(index: int) -> int:
        return int(np.searchsorted(offsets, index, side="right")) - 1

    def named(rows: Columns, place: int, index: int) -> Candidate:
        number = structure(index)
        return _named(small, structures[number], rows, place, archive, number)

    order = np.lexsort([archive.index, *archive.costs.T[::-1]])
    front = tuple(named(archive.rows, int(i), int(archive.index[i])) for i in order)
    winner = choose(front, space.objectives, space.pick)
    clash: tuple[str, ...] = ()
    nearest, binding, why = None, "", ""
    if not front:
        clash = conflict(archive.breaches, [str(c) for c in space.constraints])
    if archive.miss and not front:
        nearest = named(archive.miss_row, 0, archive.miss.index)
        binding, why = archive.miss.binding, _explain(archive, nearest, clash)
    elif not winner:
        why = f"no design of the front meets '{' and '.join(map(str, space.pick.where))}'"
        binding = str(space.pick.where[0]) if space.pick.where else ""
    return Result(
        space.name, space.hash, space.size, len(structures), archive.evaluated, archive.feasible,
        (*pruned, *((w, n) for w, n in sorted(archive.pruned.items()) if n)), dict(archive.infeasible),
        space.objectives, tuple(map(str, space.constraints)), space.pick, front, winner, nearest, binding, why,
        resumed, notes, clash, archive.tried, method, space,
    )  # fmt: skip


def conflict(breaches: Mapping[int, int], rules: Sequence[str]) -> tuple[str, ...]:
    """The smallest set of constraints that no point meets together, from what every infeasible point breaks.

    Bit 0 of a point is the design itself (it does not fit, or lacks a value), bit i + 1 is constraint number i. The
    first of the smallest sets, in the order of the constraints; empty where there are none, or too many.
    """
    names = ["the design itself", *rules]
    if not breaches or len(names) > _MOST_RULES:
        return ()
    for size in range(1, len(names) + 1):
        for some in itertools.combinations(range(len(names)), size):
            mask = sum(1 << i for i in some)
            if all(broken & mask for broken in breaches):
                return tuple(names[i] for i in some)
    return ()


def _named(space: Space, where: Structure, rows: Columns, place: int, archive: Archive, number: int) -> Candidate:
    axes = [axis.name for axis in space.axes_of(where.machine)]
    values = {name: column[place].item() for name, column in rows.items()}
    kept = {n: v for n, v in values.items() if n not in axes and not (isinstance(v, float) and np.isnan(v)) and v != ""}
    return Candidate(where, {name: values[name] for name in axes}, kept, archive.labels[number])


def _explain(archive: Archive, nearest: Candidate, clash: Sequence[str]) -> str:
    """Why nothing is feasible, in one sentence: what binds, and by how much the nearest candidate misses it."""
    miss = archive.miss
    if miss is None:
        return ""
    text = f"nothing satisfies the constraints; '{miss.binding}' binds: the nearest candidate, {nearest},"
    together = " and ".join(f"'{rule}'" for rule in clash)
    also = f"; no design meets {together} together" if len(clash) > 1 else ""
    if miss.why:
        return f"{text} cannot be: {miss.why}{also}"
    metric = miss.binding.split(" ")[0]
    value = nearest.metrics.get(metric, nearest.point.get(metric))
    if miss.binding == NO_VALUE or known(metric) is None or not isinstance(value, float | int):
        return f"{text} has no value for it"
    times = f" ({miss.excess:.3g}x too far)" if np.isfinite(miss.excess) else ""
    return f"{text} has {metric} {find(metric).show(value)}{times}{also}"
