"""Why a design of a space is not on its front: what it breaks, what dominates it, the least change that helps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.search.answer import Answer, Evaluator, ask
from dovetail.search.block import Reference, judge
from dovetail.search.lattice import Lattice
from dovetail.search.metrics import find
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space

MOST = 3  # designs that dominate it, as told
_ALIASES = {"on": "machine"}


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is different: what, from and to, and whether that design is then on the front or only feasible."""

    name: str
    old: str
    new: str
    on_front: bool

    def __str__(self) -> str:
        return f"{self.name} {self.new} instead of {self.old}"


@dataclass(frozen=True, slots=True)
class WhyNot:
    """What stands between a design and the front.

    Parameters
    ----------
    design : str
        Where it lies, in words.
    on_front : bool
    broken : tuple of str
        What it breaks, with by how much.
    dominated : tuple of (Candidate, mapping of str to float)
        Designs of the front that are nowhere worse, the nearest first, and by what factor each objective is better.
    changes : tuple of Change
        Single changes that put it on the front, or at least make it feasible: for each axis the nearest value.
    """

    design: str
    on_front: bool
    broken: tuple[str, ...]
    dominated: tuple[tuple[Candidate, Mapping[str, float]], ...]
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """The JSON object of ``dovetail why-not``."""
        return {
            "design": self.design, "on_front": self.on_front, "broken": list(self.broken),
            "dominated_by": [{"design": c.to_json(), "better": dict(f)} for c, f in self.dominated],
            "changes": [
                {"what": c.name, "from": c.old, "to": c.new, "on_front": c.on_front} for c in self.changes
            ],
        }  # fmt: skip


def why_not(space: Space, evaluate: Evaluator, found: Result, design: str) -> WhyNot:
    """Why `design` is not on the front of `found`, a search of `space`.

    Parameters
    ----------
    design : str
        ``recipe=w4a16-rtn machine=l4 batch=8 sms=96``: what is left out is as in the winner, or else the first of its
        list; numbers are those of the space nearest to what is given.

    Raises
    ------
    DovetailError
        A word that is no name or axis of the space.
    """
    lattice = Lattice(space)
    place = _place(lattice, found.winner, design)
    number = lattice.index(place)
    costs, excess, told = _judged(space, evaluate, lattice, [number])
    front = np.asarray([[float(o.cost(np.asarray(float(c[o.metric])))) for o in space.objectives] for c in found.front])
    beaten = _beaten(front.reshape(-1, len(space.objectives)), costs)[0]
    changes = tuple(_changes(space, evaluate, lattice, place, front)) if excess[0] or beaten.any() else ()
    return WhyNot(
        _words(lattice, place), not excess[0] and not beaten.any(), tuple(told[0]),
        tuple(_dominators(space, found, front, costs[0], beaten)) if not excess[0] else (), changes,
    )  # fmt: skip


def _place(lattice: Lattice, winner: Candidate | None, design: str) -> dict[str, int]:
    given = dict(re.findall(r"([A-Za-z_]\w*)\s*=\s*([^\s,=]+(?:\s(?![A-Za-z_]\w*\s*=)[^\s,=]+)*)", design))
    given = {_ALIASES.get(name, name): value for name, value in given.items()}
    if not given:
        raise DovetailError(f"'{design}' names no design", hint="recipe=w4a16-rtn machine=l4 batch=8")
    space = lattice.space
    place = dict.fromkeys(("model", "recipe", "machine", "tp", "pp"), 0)
    if winner is not None:
        s = winner.structure
        place = {
            "model": space.models.index(s.model), "recipe": space.recipes.index(s.recipe),
            "machine": space.machines.index(s.machine), "tp": space.plans.index(s.tp),
            "pp": space.pipes.index(s.pp),
        }  # fmt: skip
    for name in [n for n in given if n in lattice.names]:
        known = [str(v) for v in lattice.names[name]]
        if given[name] not in known:
            hint = did_you_mean(given[name], known)
            raise DovetailError(f"the space has no {name} '{given[name]}'", hint=hint)
        place[name] = known.index(given.pop(name))
    return place | _numbers(lattice, place, winner, given)


def _numbers(
    lattice: Lattice, place: Mapping[str, int], winner: Candidate | None, given: Mapping[str, str]
) -> dict[str, int]:
    axes = {axis.name: axis for axis in lattice.space.axes_of(lattice.space.machines[place["machine"]])}
    for name in given:
        if name not in axes:
            hint = did_you_mean(name, [*lattice.names, *axes])
            raise DovetailError(f"'{name}' is not chosen in this space, or not for this machine", hint=hint)
    found = {}
    for name, axis in axes.items():
        if name in given:
            match = re.fullmatch(r"([+-]?[\d.]+(?:[eE][+-]?\d+)?)\s*(\S*)", given[name])
            if not match:
                raise DovetailError(f"'{given[name]}' is no value of {name}", hint=f"{name}={axis.values[0]:g}")
            wanted = find(name).value(float(match[1]), match[2], name)
        else:
            wanted = float(winner.point[name]) if winner is not None and name in winner.point else axis.values[0]
        found[name] = int(np.argmin(np.abs(axis.values - wanted)))
    return found


def _judged(
    space: Space, evaluate: Evaluator, lattice: Lattice, numbers: list[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[list[str]]]:
    """Costs (NaN without a value), excess and what is broken of points of one structure."""
    structure = lattice.structure(numbers[0])
    rows = np.asarray(numbers, np.int64) - int(lattice.offsets[structure])
    columns, named = lattice.columns(structure, rows), lattice.structures[structure]
    answer = ask(evaluate, named, columns)
    verdict = judge(space, answer, Reference(space, named, evaluate).table(columns))
    costs = np.stack([o.cost(answer.column(o.metric)) for o in space.objectives], axis=1)
    told = [[_told(space, answer, i, bit) for bit in range(16) if int(verdict.broken[i]) >> bit & 1]
            for i in range(len(numbers))]  # fmt: skip
    return costs, verdict.excess, told


def _told(space: Space, answer: Answer, row: int, bit: int) -> str:
    if bit == 0:
        return answer.why(row) or "an objective without a value"
    rule = space.constraints[bit - 1]
    value = float(answer.column(rule.metric)[row])
    return f"{rule}: it has {find(rule.metric).show(value)}"


def _beaten(front: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which designs of the front dominate each row, (rows, front)."""
    no_worse = (front[None] <= costs[:, None]).all(axis=2)
    return np.asarray(no_worse & (front[None] < costs[:, None]).any(axis=2))


def _dominators(
    space: Space, found: Result, front: NDArray[np.float64], own: NDArray[np.float64], beaten: NDArray[np.bool_]
) -> Iterator[tuple[Candidate, dict[str, float]]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(own < 0, front / own, own / front)  # how many times better each objective is
    far = np.log(np.maximum(ratios, 1.0)).sum(axis=1)
    for i in sorted(np.flatnonzero(beaten), key=lambda i: far[i])[:MOST]:
        yield found.front[i], {o.metric: float(r) for o, r in zip(space.objectives, ratios[i], strict=True)}


def _changes(
    space: Space, evaluate: Evaluator, lattice: Lattice, place: Mapping[str, int], front: NDArray[np.float64]
) -> Iterator[Change]:
    """Along each axis by itself: the nearest value that is on the front, or else the nearest feasible one."""
    for name, count in lattice.sides(place["machine"]).items():
        order = sorted((p for p in range(count) if p != place[name]), key=lambda p: abs(p - place[name]))
        kept: Change | None = None
        for other in order:
            moved = _moved(lattice, place, name, other)
            costs, excess, _ = _judged(space, evaluate, lattice, [lattice.index(moved)])
            if excess[0]:
                continue
            on_front = not _beaten(front, costs).any()
            if on_front or kept is None:
                kept = Change(name, _value(lattice, place, name), _value(lattice, moved, name), on_front)
            if on_front:
                break
        if kept is not None:
            yield kept


def _moved(lattice: Lattice, place: Mapping[str, int], name: str, other: int) -> dict[str, int]:
    moved = {**place, name: other}
    return {n: min(moved.get(n, 0), count - 1) for n, count in lattice.sides(moved["machine"]).items()}


def _value(lattice: Lattice, place: Mapping[str, int], name: str) -> str:
    if name in lattice.names:
        return str(lattice.names[name][place[name]])
    axes = lattice.space.axes_of(lattice.space.machines[place["machine"]])
    return find(name).show(float(next(a for a in axes if a.name == name).values[place[name]]))


def _words(lattice: Lattice, place: Mapping[str, int]) -> str:
    structure = lattice.structures[lattice.structure(lattice.index(place))]
    axes = lattice.space.axes_of(structure.machine)
    return f"{structure} at " + ", ".join(f"{axis.name} {_value(lattice, place, axis.name)}" for axis in axes)
