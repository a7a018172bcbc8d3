"""One block of one structure: evaluate its rows, judge them, keep its front and its nearest miss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.search.answer import Answer, Columns, Label
from dovetail.search.pareto import front
from dovetail.search.space import Space

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
    binds them.
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


Verdict = tuple[NDArray[np.float64], NDArray[np.int64], list[str]]


def judge(space: Space, answer: Answer, reference: Answer | None) -> Verdict:
    """How far each row is from feasible.

    Returns
    -------
    excess : array (rows,)
        The factor of its worst breach; 0 for a feasible row.
    binding : array (rows,)
        The number of that breach; the first of equal ones.
    names : list of str
        The breaches: limits of the design, then the constraints in their order.
    """
    limits, place = np.unique(answer.limit, return_inverse=True)
    names = [str(limit) for limit in limits]
    excess, binding = np.where(answer.feasible, 0.0, answer.excess), place.astype(np.int64)
    for rule in space.constraints:
        values = answer.column(rule.metric)
        if rule.relative:
            base = np.nan if reference is None else np.asarray(reference.table.get(rule.metric, np.nan), float)
            with np.errstate(divide="ignore", invalid="ignore"):
                values = values / base
        breach = rule.excess(values)
        excess, binding = np.maximum(excess, breach), np.where(breach > excess, len(names), binding)
        names.append(str(rule))
    unknown = np.logical_or.reduce([~np.isfinite(answer.column(o.metric)) for o in space.objectives]) & (excess == 0)
    return np.where(unknown, np.inf, excess), np.where(unknown, len(names), binding), [*names, NO_VALUE]


def summarise(space: Space, number: int, start: int, answer: Answer, reference: Answer | None) -> tuple[Block, Columns]:
    """The block of an answer that starts at row `start` of structure `number`; and all its rows, with their verdict."""
    excess, binding, names = judge(space, answer, reference)
    good, offset = np.flatnonzero(excess == 0), number * space.rows + start
    costs = np.stack([o.cost(answer.column(o.metric)[good]) for o in space.objectives], axis=1)
    best = front(costs)
    own = len(names) - len(space.constraints) - 1  # breaches of the design itself come first
    miss, nearest = _nearest(answer, excess, binding, names, own, offset)
    kept = np.concatenate((good[best], nearest))
    counts = np.bincount(binding[excess > 0], minlength=len(names))
    block = Block(
        number, start, start + len(excess), len(good), {n: int(c) for n, c in zip(names, counts) if c},
        offset + good[best], costs[best], {name: values[kept] for name, values in answer.table.items()},
        miss, answer.label,
    )  # fmt: skip
    return block, {**answer.table, "feasible": excess == 0}


def _nearest(
    answer: Answer, excess: NDArray[np.float64], binding: NDArray[np.int64], names: list[str], own: int, offset: int
) -> tuple[Miss | None, NDArray[np.int64]]:
    missed = np.flatnonzero(excess > 0)
    if not len(missed):
        return None, missed
    row = int(missed[np.argmin(excess[missed])])
    why = answer.why(row) if binding[row] < own else ""
    return Miss(float(excess[row]), offset + row, names[binding[row]], why), np.asarray([row])
