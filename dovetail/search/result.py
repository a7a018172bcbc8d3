"""The answer of a search: the front, the winner, what was counted and pruned, what binds when nothing is feasible."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.search import expression
from dovetail.search.answer import Label
from dovetail.search.expression import Objective, Pick
from dovetail.search.metrics import METRICS, find, is_parameter, known
from dovetail.search.space import Space, Structure

Value = float | str


@dataclass(frozen=True, slots=True)
class Candidate:
    """One design point: structure, numeric columns (`point`) and metrics, in the units of `search.metrics`."""

    structure: Structure
    point: Mapping[str, Value]
    metrics: Mapping[str, Value]
    label: Label

    def __getitem__(self, name: str) -> Value:
        return self.point[name] if name in self.point else self.metrics[name]

    def __str__(self) -> str:
        return f"{self.structure} at " + ", ".join(_told(name, value) for name, value in self.point.items())

    def to_json(self) -> dict[str, Any]:
        """The stable JSON object: physical metrics as quantities; names, axes and pure numbers bare."""
        s = self.structure
        out: dict[str, Any] = {"model": s.model, "recipe": s.recipe, "machine": s.machine}
        out |= ({"tp": s.tp} if s.tp else {}) | ({"pp": s.pp} if s.pp else {})
        out |= {name: self._chosen(name) for name in self.point}
        physical = (name for name in self.metrics if name in METRICS and METRICS[name].dimension)
        bounds = {name + side for name in physical for side in ("_low", "_high")}  # inside their quantity
        return out | {name: self._quantity(name) for name in self.metrics if name not in bounds}

    def _chosen(self, name: str) -> Any:
        """A number of the point: bare, or with its unit where it is a free parameter that has one."""
        value, metric = self.point[name], known(name)
        if metric is None or not metric.dimension or not is_parameter(name):
            return _plain(value)
        return {"value": _plain(value), "unit": metric.shown_unit}

    def _quantity(self, name: str) -> Any:
        metric, value = METRICS.get(name), self.metrics[name]
        if metric is None or not metric.dimension or isinstance(value, str):
            return _plain(value)
        low, high = self.metrics.get(f"{name}_low", value), self.metrics.get(f"{name}_high", value)
        return {
            "value": _plain(value), "low": _plain(low), "high": _plain(high), "unit": metric.shown_unit,
            "kind": self.label.kinds.get(name, "modelled"), "source": self.label.source,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """What a search found.

    Parameters
    ----------
    points, evaluated, feasible : int
        Points of the space; those evaluated; those that meet every constraint.
    structures : int
        Structures of the space.
    pruned : tuple of (str, int)
        Why points were left out unevaluated, and how many. ``evaluated + pruned == points``.
    infeasible : mapping
        What binds -> how many points, each counted once under its worst breach.
    front : tuple of Candidate
        The exact front, by the first objective, then the next; one for each distinct vector of objectives.
    winner, nearest : Candidate or None
        The pick; the nearest miss when nothing is feasible.
    why : str
        Why there is no winner; empty when there is one.
    binding : str
        What binds the nearest miss.
    resumed : int
        Blocks read from the study instead of evaluated: not part of the answer.
    notes : tuple of str
        What the user should know besides: a damaged study that was kept aside.
    conflict : tuple of str
        Where nothing is feasible: the smallest set of constraints that no point meets together.
    tried : int
        Points evaluated beforehand, which bounds are held against; part of a block, they are counted again there.
    method : str
        How the front was found.
    asked : Space or None
        What was searched.
    """

    space: str
    hash: str
    points: int
    structures: int
    evaluated: int
    feasible: int
    pruned: tuple[tuple[str, int], ...]
    infeasible: Mapping[str, int]
    objectives: tuple[Objective, ...]
    constraints: tuple[str, ...]
    rule: Pick
    front: tuple[Candidate, ...]
    winner: Candidate | None
    nearest: Candidate | None
    binding: str
    why: str
    resumed: int = field(default=0, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    conflict: tuple[str, ...] = ()
    tried: int = 0
    method: str = "exact enumeration"
    asked: Space | None = field(default=None, compare=False)

    @property
    def searched(self) -> Space:
        """What was searched. Raises `DovetailError` where the result was read without it."""
        if self.asked is None:
            raise DovetailError("this answer does not hold its space", where=self.space, hint="search again")
        return self.asked

    @property
    def exit_code(self) -> int:
        """0, or 3 when there is no winner."""
        return 0 if self.winner else INFEASIBLE

    def pick(self, rule: str) -> Candidate:
        """The candidate of the front by another rule: ``"tpot < 30 ms"``, ``"min usd_per_mtok where tpot < 30 ms"``.

        Raises
        ------
        DovetailError
            The rule cannot be read, or no candidate meets it (exit code 3).
        """
        parsed = expression.pick(rule)
        found = choose(self.front, self.objectives, parsed)
        if found is None:
            raise _none_meets(parsed, self.front)
        return found

    def certificate(self) -> dict[str, Any]:
        """What was evaluated and pruned and why: what makes the front exact."""
        return {
            "method": self.method, "tried_first": self.tried,
            "space": self.hash, "points": self.points, "structures": self.structures,
            "evaluated": self.evaluated, "feasible": self.feasible, "infeasible": dict(sorted(self.infeasible.items())),
            "pruned": [{"why": why, "points": points} for why, points in self.pruned],
            "ties": "of equal objectives the first of the space is kept",
        }  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The stable JSON object of ``dovetail search``."""
        return {
            "space": self.space, "points": self.points, "pruned": sum(points for _, points in self.pruned),
            "objectives": [str(o) for o in self.objectives], "constraints": list(self.constraints),
            "pick": str(self.rule),
            "feasible": self.winner is not None, "why": self.why, "binding": self.binding,
            "conflict": list(self.conflict),
            "winner": self.winner.to_json() if self.winner else None,
            "nearest": self.nearest.to_json() if self.nearest else None,
            "front": [candidate.to_json() for candidate in self.front],
            "certificate": self.certificate(), "notes": list(self.notes),
        }  # fmt: skip


def choose(front: Sequence[Candidate], objectives: Sequence[Objective], rule: Pick) -> Candidate | None:
    """The pick of a front by a rule; ties go to the better next objective, then to the earlier candidate."""
    left = [c for c in front if all(bool(k.holds(np.asarray(_number(c, k.metric)))) for k in rule.where)]
    if not left:
        return None
    costs = np.asarray([[float(o.cost(np.asarray(_number(c, o.metric)))) for o in objectives] for c in left])
    score = distance_to_ideal(costs)
    if rule.objective:
        score = np.asarray([float(rule.objective.cost(np.asarray(_number(c, rule.objective.metric)))) for c in left])
    return left[int(np.lexsort([*costs.T[::-1], score])[0])]


def distance_to_ideal(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distance (rows,) to the ideal point of `costs` (rows, objectives): the knee is the least.

    Each objective runs from 0 (best of these rows) to 1 (worst), by logarithm where all its values have one sign and
    none is zero, so that a factor of two counts alike in microseconds and in dollars.
    """
    return np.asarray(np.sqrt((scaled(costs) ** 2).sum(axis=1)))


def scaled(costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """`costs` (rows, objectives), each objective from 0 to 1 over the rows, as `distance_to_ideal` takes them."""
    sign = np.where(costs[:1] < 0, -1.0, 1.0)
    size = costs * sign
    logs = np.where((size > 0).all(axis=0), sign * np.log(np.where(size > 0, size, 1.0)), costs)
    low, span = logs.min(axis=0), np.ptp(logs, axis=0)
    return np.asarray((logs - low) / np.where(span > 0, span, 1.0))


def _number(candidate: Candidate, metric: str) -> float:
    try:
        return float(candidate[metric])
    except KeyError:
        return math.nan


def _none_meets(rule: Pick, front: Sequence[Candidate]) -> DovetailError:
    text = " and ".join(map(str, rule.where))
    why = "the front is empty"
    for part in rule.where:
        values = np.asarray([_number(c, part.metric) for c in front])
        values = values[np.isfinite(values)]
        if len(values) and not part.holds(values).any():
            best = float(values.min() if part.upper else values.max())
            why = f"the best {part.metric} on the front is {find(part.metric).show(best)}"
            break
    return DovetailError(f"no design of the front meets '{text}'", why=why, hint="a looser rule", exit_code=INFEASIBLE)


def _told(name: str, value: Value) -> str:
    return f"{name} {find(name).show(float(value))}" if is_parameter(name) else f"{name} {value:g}"


def _plain(value: Value) -> Any:
    """A value as JSON has it: whole numbers as integers, NaN and infinity as null."""
    if isinstance(value, str | bool):
        return value
    if not math.isfinite(value):
        return None
    return int(value) if float(value).is_integer() and abs(value) < 2**53 else float(value)
