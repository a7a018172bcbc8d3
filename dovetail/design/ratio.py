"""How two designs compare: the ratio of a metric, and the interval of that ratio."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dovetail.core.formats import Number
from dovetail.core.quantity import Kind, weakest
from dovetail.cost import GraphCost
from dovetail.design.points import Metrics, Steps, flat
from dovetail.design.trust import Trust

_HIGHER = ("throughput",)  # better when higher; all others when lower
_Part = Literal["time_s", "energy_j"]


@dataclass(frozen=True, slots=True)
class Priced:
    """One recipe on all points of a workload: its metrics, its steps with the cost of every operator, its trust."""

    recipe: str
    metrics: Metrics
    steps: Steps
    trust: Trust
    decode_steps: Number

    def value(self, metric: str) -> Number:
        """The metric of every point, NaN where the design is infeasible."""
        return np.where(self.metrics.fits, flat(self.metrics)[metric], np.nan)

    def parts(self, metric: str) -> Iterator[tuple[Number, GraphCost]]:
        """The costs that a metric is made of, each with how often it counts."""
        if metric != "tpot":
            yield 1.0, self.steps.prefill
        if metric != "ttft":
            often = 1.0 if metric == "tpot" else self.decode_steps
            yield often / self.steps.decode_graph.tokens_per_step, self.steps.decode


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times better than the baseline, with a 90 % interval; arrays of points, NaN where one does not fit."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kind: Kind = "modelled"


def ratio(metric: str, base: Priced, other: Priced) -> Ratio:
    """How many times better `other` is than `base` in `metric`: above 1 is less time, energy or money, or more tokens.

    Notes
    -----
    Operators that cost the same in both designs are wrong in both by the same factor, which cancels as far as their
    shares of the two totals agree; operators that differ are wrong independently. With shares s of what is the same
    and logarithms u of the ranges' factors, to first order

        u(ratio)^2 = ((1 - s_base) u_base)^2 + ((1 - s_other) u_other)^2 + ((s_base - s_other) max(u_base, u_other))^2
    """
    values = base.value(metric), other.value(metric)
    found = values[1] / values[0] if metric in _HIGHER else values[0] / values[1]
    same, same_other = _shares(metric, base, other)
    u, u_other = np.log(base.trust.factor(metric)), np.log(other.trust.factor(metric))
    independent = ((1.0 - same) * u) ** 2 + ((1.0 - same_other) * u_other) ** 2
    factor = np.exp(np.sqrt(independent + ((same - same_other) * max(u, u_other)) ** 2))
    kind = weakest(base.trust.kind(metric), other.trust.kind(metric))
    return Ratio(found, found / factor, found * factor, kind)


def _shares(metric: str, base: Priced, other: Priced) -> tuple[Number, Number]:
    """Shares of what costs the same in both designs, of the one's total and of the other's."""
    kind: _Part = "energy_j" if metric == "energy_per_token" else "time_s"
    totals: list[Number] = [0.0, 0.0]
    shared: list[Number] = [0.0, 0.0]
    for (often, one), (often_other, two) in zip(base.parts(metric), other.parts(metric), strict=True):
        equal = _equal(one, two, kind)
        for i, (times, cost) in enumerate(((often, one), (often_other, two))):
            totals[i] = totals[i] + times * getattr(cost, kind)
            shared[i] = shared[i] + times * equal
    return shared[0] / totals[0], shared[1] / totals[1]


def _equal(one: GraphCost, two: GraphCost, kind: _Part) -> Number:
    """What the operators that cost the same in two steps cost together, the steps' own fixed part included."""
    known = {o.name: getattr(o, kind) for o in two.operators}
    pairs = [(getattr(o, kind), known.get(o.name, np.nan)) for o in one.operators]
    fixed = getattr(one, kind) - sum(getattr(o, kind) for o in one.operators)
    return fixed + sum(np.where(a == b, a, 0.0) for a, b in pairs)
