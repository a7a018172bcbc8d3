"""What a report of a search shows beside its front: designs around it, which of them wins where, and why not others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.search.answer import Answer, Evaluator, Label, ask
from dovetail.search.axis import Axis
from dovetail.search.block import Reference, judge
from dovetail.search.lattice import Lattice
from dovetail.search.metrics import find, known
from dovetail.search.pareto import front
from dovetail.search.result import Candidate, Result, choose
from dovetail.search.sensitivity import Share, sensitivity
from dovetail.search.space import Space, Structure
from dovetail.search.why_not import why_not

MOST = 60_000  # designs that are evaluated for the figures: all of a space up to this size, else a draw of each part
MOST_STRUCTURES = 400
BESIDE = 500  # designs that are kept beside the front
DRAWS = 512  # of the shares of variance, where nobody asked for them by themselves
CELLS = (12, 10)  # columns and rows of the map, at most
ASKED = 6  # other machines, and other recipes, that are asked about
STEPS = 200  # values of all axes together up to which single changes are looked for
PARTS = ("model", "recipe", "machine", "tp", "pp")
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Some:
    """Designs of one structure, judged: `costs` is (rows, objectives), `excess` is 0 where a row is feasible."""

    structure: Structure
    axes: tuple[str, ...]
    answer: Answer
    costs: Floats
    excess: Floats
    binding: tuple[str, ...]

    def point(self, row: int) -> dict[str, float]:
        """The numeric choices of a row."""
        return {name: float(self.answer.table[name][row]) for name in self.axes}

    def candidate(self, row: int, metrics: Sequence[str]) -> Candidate:
        """A row with some of its metrics."""
        values = {name: float(self.answer.column(name)[row]) for name in metrics if name in self.answer.table}
        return Candidate(self.structure, self.point(row), values, Label({}, ""))


def landscape(found: Result, evaluate: Evaluator, shares: Sequence[Share] = ()) -> dict[str, Any]:
    """What surrounds the front of a search, as JSON.

    Parameters
    ----------
    found : Result
        Of a search; its space is in it.
    evaluate : Evaluator
        The one that was searched with.
    shares : sequence of Share
        Shares of variance, where they are known already.

    Returns
    -------
    dict
        ``choices`` (name -> all values, of what is chosen and varies), ``units`` of choices and objectives, ``beside``
        (designs that are not on the front), ``map`` (which design wins where; None without two choices to map),
        ``sensitivity``, ``why_not`` (of other machines and recipes), ``evaluated``, and whether that is ``complete``.
    """
    if found.asked is None:
        return {}
    space = found.asked.trimmed()[0]
    some = list(evaluated(space, evaluate))
    shares = shares or sensitivity(found.asked, evaluate, DRAWS)
    names = varying(space)
    count = sum(len(each.excess) for each in some)
    return {
        "evaluated": count, "complete": count == space.size,
        "choices": {name: values for name, values in names.items() if len(values) > 1},
        "units": {name: _unit(name) for name in (*names, *(o.metric for o in found.objectives))},
        "beside": list(_beside(found, some)), "map": winners(found, space, evaluate, some, shares),
        "sensitivity": [asdict(share) for share in shares], "why_not": list(_asked(found, space, evaluate, some)),
    }  # fmt: skip


def varying(space: Space) -> dict[str, list[Any]]:
    """Every choice of a space with all its values, in the order of the space."""
    found: dict[str, list[Any]] = {
        "model": list(space.models), "recipe": list(space.recipes), "machine": list(space.machines),
        "tp": list(space.plans), "pp": list(space.pipes),
    }  # fmt: skip
    for axis in (*space.axes, *(axis for free in space.free for axis in free.axes)):
        found[axis.name] = sorted({*found.get(axis.name, []), *axis.values.tolist()})
    return found


def evaluated(space: Space, evaluate: Evaluator, most: int = MOST) -> Iterator[Some]:
    """All designs of a space of up to `most`, else some of each structure, drawn evenly and the same each time."""
    lattice = Lattice(space)
    count = len(lattice.structures)
    chosen = np.unique(np.linspace(0, count - 1, min(count, MOST_STRUCTURES)).astype(int))
    for number in chosen:
        structure, rows = lattice.structures[number], int(lattice.offsets[number + 1] - lattice.offsets[number])
        each = rows if space.size <= most else max(1, most // len(chosen))
        drawn = np.arange(rows) if rows <= each else np.random.default_rng(int(number)).integers(0, rows, each)
        columns = lattice.columns(int(number), np.unique(drawn))
        answer = ask(evaluate, structure, columns)
        verdict = judge(space, answer, Reference(space, structure, evaluate).table(columns))
        costs = np.stack([o.cost(answer.column(o.metric)) for o in space.objectives], axis=1)
        binding = tuple(verdict.names[i] for i in verdict.binding)
        yield Some(structure, tuple(columns), answer, costs, verdict.excess, binding)


def _unit(name: str) -> str:
    metric = known(name)
    return "" if metric is None or metric.dimension == "tok" else metric.unit or metric.dimension


def _bare(candidate: Candidate, objectives: Sequence[str]) -> dict[str, Any]:
    named = {part: getattr(candidate.structure, part) for part in PARTS}
    return named | dict(candidate.point) | {name: float(candidate[name]) for name in objectives}


def _beside(found: Result, some: Sequence[Some]) -> Iterator[dict[str, Any]]:
    """Designs that are not on the front, evenly drawn, and by what those that are not feasible are bound."""
    metrics = [o.metric for o in found.objectives]
    on_front = {(c.structure, tuple(sorted(c.point.items()))) for c in found.front}
    places = [(each, row) for each in some for row in np.flatnonzero(np.isfinite(each.costs).all(axis=1))]
    order = np.random.default_rng(0).permutation(len(places))[: BESIDE + len(on_front)]
    kept = 0
    for i in sorted(order):
        each, row = places[i]
        candidate = each.candidate(int(row), metrics)
        if kept < BESIDE and (candidate.structure, tuple(sorted(candidate.point.items()))) not in on_front:
            kept += 1
            feasible = bool(each.excess[row] == 0)
            yield _bare(candidate, metrics) | {
                "feasible": feasible, "binding": "" if feasible else each.binding[int(row)]
            }  # fmt: skip


def _thinned(values: Sequence[Any], most: int, own: Any = None) -> list[Any]:
    """At most `most` of `values`, evenly spread, `own` among them where it is one of them."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int))
    if own in values:
        at = list(values).index(own)
        places[np.argmin(np.abs(places - at))] = at
    return [values[i] for i in places]


def winners(
    found: Result, space: Space, evaluate: Evaluator, some: Sequence[Some], shares: Sequence[Share] = ()
) -> dict[str, Any] | None:
    """Which design the rule of the search picks where two choices are fixed; None where there are not two.

    Where `some` are not all designs, others are drawn that lie in the cells; designs of the front are always there.
    ``complete`` says whether those are all that lie in the cells (``points``), so that the map is exact.
    """
    names = {name: values for name, values in varying(space).items() if len(values) > 1}
    x, y = _axes(found, space, names, shares)
    told = [part for part in PARTS if part in names and part not in (x, y)]
    if not x or not y or not told:
        return None
    own = found.winner
    shown = {n: _thinned(names[n], most, own and _at(own, n)) for n, most in zip((x, y), CELLS, strict=True)}
    inside = _only(space, shown)
    if sum(len(each.excess) for each in some) < space.size:
        some = list(evaluated(inside, evaluate))
    looked = sum(len(each.excess) for each in some)
    every = [(each, int(row)) for each in some for row in np.flatnonzero(each.excess == 0)]
    costs = np.concatenate([each.costs[each.excess == 0] for each in some])
    place_x, place_y = (np.concatenate([_column(each, name)[each.excess == 0] for each in some]) for name in (x, y))
    metric, cells = (found.rule.objective or found.objectives[0]).metric, []
    for y_value in shown[y]:
        for x_value in shown[x]:
            at = np.flatnonzero((place_x == x_value) & (place_y == y_value))
            known = [c for c in found.front if (_at(c, x), _at(c, y)) == (x_value, y_value)]
            best = _best(found, [every[i] for i in at[front(costs[at])]], known)
            cells.append({
                "x": x_value, "y": y_value, "of": len(at), "value": float(best[metric]) if best else None,
                "what": [str(getattr(best.structure, part)) for part in told] if best else [],
            })  # fmt: skip
    return {"x": x, "y": y, "told": told, "by": str(found.rule), "metric": metric, "unit": _unit(metric),
            "xs": shown[x], "ys": shown[y], "cells": cells, "evaluated": looked, "points": inside.size,
            "complete": looked >= inside.size}  # fmt: skip


def _only(space: Space, shown: Mapping[str, Sequence[Any]]) -> Space:
    """The space with only some values of some of its numeric axes."""

    def fewer(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        kept = (axis.values[np.isin(axis.values, shown.get(axis.name, axis.values))] for axis in axes)
        return tuple(Axis(axis.name, values) for axis, values in zip(axes, kept, strict=True))

    free = tuple(replace(each, axes=fewer(each.axes)) for each in space.free)
    return replace(space, axes=fewer(space.axes), free=free)


def _at(candidate: Candidate, name: str) -> Any:
    return getattr(candidate.structure, name) if name in PARTS else candidate.point.get(name)


def _axes(found: Result, space: Space, names: dict[str, list[Any]], shares: Sequence[Share]) -> tuple[str, str]:
    """The two choices that are mapped: workload first, then what decides most; the machine where one is missing."""
    by = (found.rule.objective or found.objectives[0]).metric
    decides = {share.choice: share.total for share in shares if share.objective == by}
    work = [axis.name for axis in space.axes if axis.name in names]
    rest = sorted((n for n in names if n not in (*PARTS, *work)), key=lambda n: -decides.get(n, 0.0))
    order = [*work, *rest, *(part for part in ("machine", "model") if part in names)]
    return (*order, "", "")[0], (*order, "", "")[1]


def _column(each: Some, name: str) -> NDArray[Any]:
    rows = len(each.excess)
    if name in PARTS:
        return np.full(rows, getattr(each.structure, name), object)
    return each.answer.table[name].astype(object) if name in each.axes else np.full(rows, None, object)


def _best(found: Result, places: Sequence[tuple[Some, int]], more: Sequence[Candidate] = ()) -> Candidate | None:
    """The rule's pick of some designs that are feasible."""
    asked = sorted({*(o.metric for o in found.objectives), *(rule.metric for rule in found.rule.where)})
    made = [*more, *(each.candidate(row, asked) for each, row in places)]
    if not made:
        return None
    costs = np.asarray([[float(o.cost(np.asarray(float(c[o.metric])))) for o in found.objectives] for c in made])
    kept = front(costs)
    kept = kept[np.lexsort(costs[kept].T[::-1])]
    return choose([made[i] for i in kept], found.objectives, found.rule)


def _asked(found: Result, space: Space, evaluate: Evaluator, some: Sequence[Some]) -> Iterator[dict[str, Any]]:
    """Why not another machine, and why not another recipe: of each the best design that there is."""
    if found.winner is None or sum(len(values) for values in varying(space).values()) > STEPS:
        return
    metrics = [o.metric for o in found.objectives]
    for part in ("machine", "recipe"):
        own = getattr(found.winner.structure, part)
        names = [name for name in getattr(space, f"{part}s") if name != own]
        for name in _thinned(names, ASKED) if names else ():
            best = _of(found, [each for each in some if getattr(each.structure, part) == name], metrics)
            if best is None:
                continue
            try:
                why = why_not(found.searched, evaluate, found, _words(best))
            except DovetailError:  # a name that cannot be written as a design
                continue
            yield {"asked": f"{part} {name}", **why.to_json(), "values": {n: float(best[n]) for n in metrics}}


def _of(found: Result, some: Sequence[Some], metrics: Sequence[str]) -> Candidate | None:
    """The rule's pick of some designs, or the one that is nearest to feasible."""
    asked = sorted({*metrics, *(rule.metric for rule in found.rule.where)})
    places = [(each, int(row)) for each in some for row in np.flatnonzero(each.excess == 0)]
    if places:
        costs = np.stack([each.costs[row] for each, row in places])
        if best := _best(found, [places[i] for i in front(costs)]):
            return best
    missed = [(each, int(row)) for each in some for row in np.flatnonzero(np.isfinite(each.costs).all(axis=1))]
    nearest = min(missed, key=lambda place: float(place[0].excess[place[1]]), default=None)
    return None if nearest is None else nearest[0].candidate(nearest[1], asked)


def _words(candidate: Candidate) -> str:
    s = candidate.structure
    named = [f"model={s.model}", f"recipe={s.recipe}", f"machine={s.machine}", f"tp={s.tp}", f"pp={s.pp}"]
    for name, value in candidate.point.items():
        dimension = find(name).dimension
        named.append(f"{name}={float(value)!r}" + (" byte" if dimension == "byte" else ""))
    return " ".join(named)
