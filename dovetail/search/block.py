"""One block of one structure: evaluate its rows, judge them, keep its front and its nearest miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search.answer import Answer, Columns, Evaluator, Label, ask
from dovetail.search.expression import Constraint
from dovetail.search.metrics import is_parameter
from dovetail.search.pareto import front
from dovetail.search.space import Space, Structure

NO_VALUE = "an objective without a value"


@dataclass(frozen=True, slots=True)
class Miss:
    """The infeasible row nearest to feasible: by what factor it misses, its number in the space, what binds, why."""

    excess: float
    index: int
    binding: str
    why: str

    @property
    def rank(self) -> tuple[float, int]:
        """Order of misses: the nearest, then the first of the space."""
        return self.excess, self.index


@dataclass(frozen=True, slots=True)
class Block:
    """What the search keeps of rows ``start:stop`` of structure number `structure`.

    `index` (front,) are the numbers in the whole space (structure x rows + row) of the block's own front, ascending;
    `costs` (front, objectives) their objectives, less is better; `rows` their columns and metrics, followed by those
    of the nearest miss when there is one. `feasible` rows meet everything; `infeasible` counts the others by what
    binds them, and `breaches` by all that they break: bit 0 is the design itself, bit i + 1 constraint number i.
    Of the rows `evaluated` were evaluated; `pruned` says why the others were not, and how many.
    """

    structure: int
    start: int
    stop: int
    feasible: int
    infeasible: Mapping[str, int]
    index: NDArray[np.int64]
    costs: NDArray[np.float64]
    rows: Columns
    miss: Miss | None
    label: Label
    breaches: Mapping[int, int]
    evaluated: int
    pruned: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How far each row is from feasible.

    Parameters
    ----------
    excess : array (rows,)
        The factor of its worst breach; 0 for a feasible row.
    binding : array (rows,)
        The number of that breach; the first of equal ones.
    names : list of str
        The breaches: limits of the design, then the constraints in their order, then a missing objective.
    broken : array (rows,)
        All that it breaks, as bits: 1 for the design itself (or a missing objective), 2 << i for constraint i.
    """

    excess: NDArray[np.float64]
    binding: NDArray[np.int64]
    names: list[str]
    broken: NDArray[np.int64]


def judge(space: Space, answer: Answer, reference: Mapping[str, Any]) -> Verdict:
    """How far each row of an answer is from feasible; constraints on free parameters bind machines that have them."""
    limits, place = np.unique(answer.limit, return_inverse=True)
    names = [str(limit) for limit in limits]
    excess, binding = np.where(answer.feasible, 0.0, answer.excess), place.astype(np.int64)
    broken = (excess > 0).astype(np.int64)
    for i, rule in enumerate(space.constraints):
        breach = _breach(rule, answer, reference)
        broken |= np.where(breach > 0, 2 << i, 0)
        excess, binding = np.maximum(excess, breach), np.where(breach > excess, len(names), binding)
        names.append(str(rule))
    unknown = np.logical_or.reduce([~np.isfinite(answer.column(o.metric)) for o in space.objectives]) & (excess == 0)
    broken |= unknown
    return Verdict(
        np.where(unknown, np.inf, excess), np.where(unknown, len(names), binding), [*names, NO_VALUE], broken
    )


def _breach(rule: Constraint, answer: Answer, reference: Mapping[str, Any]) -> NDArray[np.float64]:
    """By what factor each row misses a constraint; 0 where it holds."""
    if rule.metric not in answer.table and is_parameter(rule.metric):
        return np.zeros(len(answer.feasible))
    values = answer.column(rule.metric)
    if rule.relative:
        base = np.asarray(reference.get(rule.metric, np.nan), float)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = values / base
    return rule.excess(values)


def summarise(space: Space, place: Place, answer: Answer, reference: Mapping[str, Any]) -> tuple[Block, Columns]:
    """The block of an answer; and all its rows, with their verdict."""
    verdict = judge(space, answer, reference)
    good = np.flatnonzero(verdict.excess == 0)
    costs = np.stack([o.cost(answer.column(o.metric)[good]) for o in space.objectives], axis=1)
    best = front(costs)
    miss, nearest = _nearest(space, answer, verdict, place)
    kept = np.concatenate((good[best], nearest))
    counts = np.bincount(verdict.binding[verdict.excess > 0], minlength=len(verdict.names))
    masks, often = np.unique(verdict.broken, return_counts=True)
    block = Block(
        place.structure, place.start, place.start + len(verdict.excess), len(good),
        {n: int(c) for n, c in zip(verdict.names, counts) if c}, place.number(good[best]), costs[best],
        {name: values[kept] for name, values in answer.table.items()}, miss, answer.label,
        {int(m): int(c) for m, c in zip(masks, often) if m}, len(verdict.excess),
    )  # fmt: skip
    return block, {**answer.table, "feasible": verdict.excess == 0}


@dataclass(frozen=True, slots=True)
class Place:
    """Where rows lie: structure number, the number in the space of its first point, and the first of the rows."""

    structure: int
    offset: int
    start: int
    rows: NDArray[np.int64] | None = None

    def number(self, row: NDArray[np.int64]) -> NDArray[np.int64]:
        """Numbers in the space of rows of the answer: they follow `start`, or are `rows` of the structure."""
        return self.offset + (self.start + row if self.rows is None else self.rows[row])


def _nearest(space: Space, answer: Answer, verdict: Verdict, place: Place) -> tuple[Miss | None, NDArray[np.int64]]:
    missed = np.flatnonzero(verdict.excess > 0)
    if not len(missed):
        return None, missed
    row = int(missed[np.argmin(verdict.excess[missed])])
    own = len(verdict.names) - len(space.constraints) - 1  # breaches of the design itself come first
    asked = verdict.binding[row] < own and len(missed) == len(verdict.excess)  # costly, and told only if nothing fits
    why = answer.why(row) if asked else ""
    number = int(place.number(np.asarray([row]))[0])
    return Miss(float(verdict.excess[row]), number, verdict.names[verdict.binding[row]], why), np.asarray([row])


class Reference:
    """The reference recipe beside a structure: evaluated only for a relative constraint on what is not known anyway."""

    def __init__(self, space: Space, structure: Structure, evaluate: Evaluator) -> None:
        self.structure, self.evaluate = replace(structure, recipe=space.reference), evaluate
        self.asked = [rule.metric for rule in space.constraints if rule.relative]
        self._table: Mapping[str, Any] | None = None

    def table(self, columns: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Any]:
        """Metric -> values on `columns`, those of the first call."""
        if self._table is None:
            known: Mapping[str, Any] = getattr(self.evaluate, "known", lambda one: {})(self.structure)
            enough = all(metric in known for metric in self.asked)
            self._table = known if enough else ask(self.evaluate, self.structure, columns).table
        return self._table
