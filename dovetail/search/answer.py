"""What an evaluator returns, made regular: arrays under canonical names, and why a row cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.search.metrics import canonical
from dovetail.search.space import Structure

Columns = dict[str, NDArray[Any]]
Evaluator = Callable[[Structure, Mapping[str, NDArray[np.float64]]], Mapping[str, Any]]
"""``evaluate(structure, columns)``: metrics of every row, arrays (rows,) or scalars, under the names of
`search.metrics`; other names are carried along. Words with a meaning of their own, all optional:

``feasible``
    bool; true when absent.
``why``
    Why rows are infeasible: one text, a text for each row, or a callable row -> text.
``limit``
    A short word, for all or for each row: what binds an infeasible one (``"memory"``).
``excess``
    How many times too much an infeasible row asks of it, > 1.
``kinds``, ``source``
    Metric -> kind (`core.quantity.Kind`), and one text: where the numbers come from.
``NAME_low``, ``NAME_high``
    The interval of metric NAME.

A `DovetailError` with exit code 3 makes all rows infeasible. An attribute ``fingerprint`` (str) of the evaluator,
when it has one, is part of a study's identity: change it when the numbers change.
"""
_RESERVED = ("feasible", "why", "limit", "excess", "kinds", "source")
DESIGN = "infeasible"  # what binds where the evaluator gives no `limit`
PLAN = ("tp", "pp", "plan", "link")  # where an evaluator refuses a structure for how it is laid out: this binds


@dataclass(frozen=True, slots=True)
class Label:
    """What holds for every row of a structure: the kind of each metric, and the source of them all."""

    kinds: Mapping[str, str]
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Metrics and columns of some rows of one structure; every array has shape (rows,)."""

    structure: Structure
    table: Columns
    feasible: NDArray[np.bool_]
    limit: NDArray[np.str_]
    excess: NDArray[np.float64]
    why: Callable[[int], str]
    label: Label

    def at(self, row: int) -> Answer:
        """One row of it."""
        some = slice(row, row + 1)
        table = {name: values[some] for name, values in self.table.items()}
        limit, excess = self.limit[some], self.excess[some]
        return Answer(self.structure, table, self.feasible[some], limit, excess, lambda _: self.why(row), self.label)

    def column(self, metric: str) -> NDArray[np.float64]:
        """A metric as floats; NaN where no row is feasible and the evaluator gave none.

        Raises
        ------
        DovetailError
            Feasible rows without that metric.
        """
        if metric in self.table:
            return np.asarray(self.table[metric], float)
        if not self.feasible.any():
            return np.full(len(self.feasible), np.nan)
        hint = did_you_mean(metric, list(self.table))
        raise DovetailError(f"the evaluator gives no '{metric}'", where=str(self.structure), hint=hint)


def ask(evaluate: Evaluator, structure: Structure, columns: Mapping[str, NDArray[np.float64]]) -> Answer:
    """The answer of `evaluate` for `structure` on `columns` (rows,), checked.

    Raises
    ------
    DovetailError
        An array that does not broadcast to the rows; whatever the evaluator raises, except exit code 3.
    """
    rows = len(next(iter(columns.values())))
    try:
        found = evaluate(structure, columns)
    except DovetailError as error:
        if error.exit_code != INFEASIBLE:
            raise
        found = {"feasible": False, "why": str(error)} | ({"limit": error.where} if error.where in PLAN else {})

    def array(name: str, value: Any, kind: Any = None) -> NDArray[Any]:
        try:
            filled = np.ascontiguousarray(np.broadcast_to(np.asarray(value, kind), (rows,)))
            if filled.dtype.kind not in "biufUS":
                raise TypeError
            return filled
        except TypeError:
            raise DovetailError(
                f"the evaluator's '{name}' holds neither numbers nor text", where=str(structure)
            ) from None
        except ValueError:
            why = f"its shape is {np.shape(value)}, there are {rows} rows"
            raise DovetailError(f"the evaluator's '{name}' does not fit", where=str(structure), why=why) from None

    table = {canonical(name): array(name, value) for name, value in found.items() if name not in _RESERVED}
    excess = array("excess", found.get("excess", np.inf), float)
    return Answer(
        structure,
        {**table, **columns},
        array("feasible", found.get("feasible", True), bool),
        array("limit", found.get("limit", DESIGN), str),
        np.where(np.isnan(excess), np.inf, np.maximum(excess, 1.0)),
        _reasons(found.get("why", "")),
        _label(found),
    )


def _label(found: Mapping[str, Any]) -> Label:
    kinds = {canonical(name): str(kind) for name, kind in found.get("kinds", {}).items()}
    return Label(kinds, str(found.get("source", "cost model")))


def _reasons(why: Any) -> Callable[[int], str]:
    if callable(why):
        return lambda row: str(why(row))
    return (lambda row: why) if isinstance(why, str) else (lambda row: str(why[row]))
