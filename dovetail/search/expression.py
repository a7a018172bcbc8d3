"""Constraints, objectives and pick rules: a small language of our own, parsed and never evaluated as code.

::

    constraints = constraint { "and" constraint }
    constraint  = metric ("<" | "<=" | ">" | ">=") number [ unit | "x" | "%" ]
    objective   = [ "min" | "max" | "-" ] metric
    pick        = "knee" | objective [ "where" constraints ]

``1.01x`` is relative to the reference recipe of the same model on the same machine and workload. So is ``101 %`` (and
``+1 %``, its change), except for metrics that are shares themselves (``mfu > 40 %``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.search.metrics import Direction, Metric, find

Operator = Literal["<", "<=", ">", ">="]
_CLAUSE = re.compile(
    r"(?P<name>[A-Za-z_]\w*)\s*(?P<op><=|>=|<|>|≤|≥)\s*(?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*(?P<unit>\S*)"
)
_GRAMMAR = "metric < number unit, such as 'tpot < 50 ms' or 'perplexity < 1.01x and memory < 24 GB'"
_COMPARE = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}


@dataclass(frozen=True, slots=True)
class Constraint:
    """``metric op bound``: the bound is in the metric's own unit, or a ratio to the reference where `relative`."""

    metric: str
    op: Operator
    bound: float
    relative: bool = False

    def __str__(self) -> str:
        shown = f"{self.bound:.6g}x" if self.relative else find(self.metric).show(self.bound)
        return f"{self.metric} {self.op} {shown}"

    @property
    def upper(self) -> bool:
        """Whether the bound is from above."""
        return self.op in ("<", "<=")

    def holds(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        """Where `values` (points,) satisfy the constraint; NaN never does."""
        return cast("NDArray[np.bool_]", _COMPARE[self.op](values, self.bound))

    def excess(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """By what factor `values` (points,) miss the bound: 0 where it holds, >= 1 where not, inf without a ratio."""
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.asarray(values / self.bound if self.upper else self.bound / values, float)
        ratio = np.where(np.isnan(ratio) | (ratio < 0), np.inf, np.maximum(ratio, 1.0))
        return np.where(self.holds(values), 0.0, ratio)


@dataclass(frozen=True, slots=True)
class Objective:
    """One metric and the way it should go."""

    metric: str
    direction: Direction

    def __str__(self) -> str:
        return f"{self.direction} {self.metric}"

    def cost(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """`values` (points,) turned so that less is better."""
        return np.asarray(values if self.direction == "min" else -np.asarray(values), float)


@dataclass(frozen=True, slots=True)
class Pick:
    """How the winner is taken from the front: the best by `objective` (None: the knee) of those that meet `where`."""

    objective: Objective | None = None
    where: tuple[Constraint, ...] = ()

    def __str__(self) -> str:
        text = str(self.objective or "knee")
        return text + (" where " + " and ".join(map(str, self.where)) if self.where else "")


def constraints(text: str, where: str = "") -> tuple[Constraint, ...]:
    """The constraints of an ``and`` chain.

    Raises
    ------
    DovetailError
        Not of the grammar, an unknown metric, a unit of another dimension, or a relative bound on an axis.
    """
    return tuple(_constraint(clause, where or text) for clause in re.split(r"\band\b", text))


def _constraint(clause: str, where: str) -> Constraint:
    match = _CLAUSE.fullmatch(clause.strip())
    if not match:
        raise DovetailError(f"cannot read '{clause.strip()}'", where=where, why=_fault(clause), hint=_GRAMMAR)
    metric = find(match["name"], where)
    op = cast(Operator, {"≤": "<=", "≥": ">="}.get(match["op"], match["op"]))
    bound, relative = _bound(metric, match["number"], match["unit"], where)
    if not math.isfinite(bound):
        raise DovetailError(f"'{clause.strip()}' has no finite bound", where=where)
    return Constraint(metric.name, op, bound, relative)


def _bound(metric: Metric, number: str, unit: str, where: str) -> tuple[float, bool]:
    value, signed = float(number), number[0] in "+-"
    if unit not in ("x", "×", "%"):
        return metric.value(value, unit, where), False
    if unit == "%" and metric.fraction:
        return value / 100, False
    if metric.axis:
        raise DovetailError(f"'{metric.name}' is chosen, not measured: it has no reference", where=where)
    if unit == "%":
        return (1 + value / 100 if signed else value / 100), True
    return value, True


def _fault(clause: str) -> str:
    """What is wrong with a clause that does not parse, in words."""
    text = clause.strip()
    if not text:
        return "a side of 'and' is empty"
    if re.search(r"[()]|\bor\b|\bnot\b|!", text):
        return "only 'and' joins constraints; there are no brackets, 'or' and 'not'"
    if not re.search(r"[<>≤≥]", text):
        return "there is no <, <=, > or >="
    if len(re.findall(r"[<>≤≥]", text)) > 1:
        return "one comparison each; write 'a > 1 and a < 2'"
    if not re.match(r"[A-Za-z_]\w*\s*[<>≤≥]", text):
        return "a metric stands on the left"
    return "a number, and a unit without spaces, stand on the right"


def objective(text: str, where: str = "") -> Objective:
    """``tpot``, ``min tpot``, ``max throughput`` or ``-throughput`` (maximise); a plain name goes its better way.

    Raises
    ------
    DovetailError
        Not of that form, or an unknown metric.
    """
    match = re.fullmatch(r"\s*(?:(min|max)\s+|(-)\s*)?([A-Za-z_]\w*)\s*", text)
    if not match:
        raise DovetailError(f"cannot read the objective '{text}'", where=where, hint="tpot, min tpot or max throughput")
    metric = find(match[3], where)
    return Objective(metric.name, cast(Direction, match[1] or ("max" if match[2] else metric.better)))


def pick(text: str, where: str = "") -> Pick:
    """``knee``, ``min tpot``, ``min usd_per_mtok where tpot < 30 ms``, or constraints: the knee where they hold."""
    first, found, rest = text.partition(" where ")
    if not found and re.search(r"[<>≤≥]", text):
        return Pick(None, constraints(text, where))
    best = None if first.strip() == "knee" else objective(first, where)
    return Pick(best, constraints(rest, where) if found else ())


def conflict(rules: Iterable[Constraint]) -> tuple[Constraint, ...]:
    """The smallest set of constraints that no value can meet; empty when there is none.

    A set of half-lines is empty only if two of them are disjoint (Helly's theorem on the line), and no metric is
    negative: so one or two constraints always tell why.
    """
    groups: dict[tuple[str, bool], list[Constraint]] = {}
    for rule in rules:
        groups.setdefault((rule.metric, rule.relative), []).append(rule)
    found = [clash for group in groups.values() if (clash := _clash(group))]
    return min(found, key=len, default=())


def _clash(group: Sequence[Constraint]) -> tuple[Constraint, ...]:
    uppers = sorted((c for c in group if c.upper), key=lambda c: (c.bound, c.op == "<="))
    lowers = sorted((c for c in group if not c.upper), key=lambda c: (-c.bound, c.op == ">="))
    if uppers and (uppers[0].bound < 0 or (uppers[0].bound == 0 and uppers[0].op == "<")):
        return (uppers[0],)
    if uppers and lowers:
        low, high = lowers[0], uppers[0]
        strict = low.op == ">" or high.op == "<"
        if low.bound > high.bound or (low.bound == high.bound and strict):
            return (low, high)
    return ()
