"""Which order of a front is certain: the ratio of two designs with its interval, in which what both share cancels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dovetail.design.estimate import Estimate
from dovetail.design.ratio import Priced, ratio
from dovetail.search.chosen import design_of
from dovetail.search.result import Candidate, Result

HERE, SIMULATED = "this computer", "simulated RTL"  # where measured designs were
METRICS = ("tpot", "ttft", "throughput", "energy_per_token", "usd_per_mtok")
MOST = 12  # designs that are compared with the winner


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times better the winner is than another design of the front by one metric, with a 90 % interval."""

    other: Candidate
    metric: str
    value: float
    low: float
    high: float

    @property
    def certain(self) -> bool:
        """Whether the whole interval is on one side."""
        return self.low > 1.0 or self.high < 1.0

    def to_json(self) -> dict[str, Any]:
        """Part of the JSON of a search."""
        return {
            "other": str(self.other), "metric": self.metric, "ratio": self.value, "low": self.low, "high": self.high,
            "certain": self.certain,
        }  # fmt: skip


def order(found: Result, most: int = MOST) -> tuple[Comparison, ...]:
    """The winner against the other designs of the front, by every objective that the cost model predicts.

    Operators that both designs run alike are wrong by the same factor and cancel (`dovetail.design.ratio`). What was
    measured is compared by its own intervals, which have nothing in common.
    """
    if found.winner is None or found.asked is None:
        return ()
    others = [c for c in found.front if c is not found.winner][:most]
    if found.winner.label.source in (HERE, SIMULATED):
        return tuple(c for other in others for c in _beside(found, found.winner, other))
    base = _priced(design_of(found.asked, found.winner).estimate())
    return tuple(c for other in others for c in _compared(found, base, other))


def _beside(found: Result, winner: Candidate, other: Candidate) -> Iterator[Comparison]:
    """Two designs that were measured, by what was measured of both."""
    for goal in found.objectives:
        both = [c.label.kinds.get(goal.metric) == "measured" for c in (winner, other)]
        if goal.metric not in METRICS or not (all(both) or goal.metric == "tpot"):
            continue
        (mine, low, high), (theirs, least, most) = (_ends(candidate, goal.metric) for candidate in (winner, other))
        value, lower, upper = theirs / mine, least / high, most / low
        if goal.direction == "max":  # above 1 the winner is better
            value, lower, upper = 1 / value, 1 / upper, 1 / lower
        yield Comparison(other, goal.metric, value, lower, upper)


def _ends(candidate: Candidate, metric: str) -> tuple[float, float, float]:
    value, low, high = (float(candidate.metrics[f"{metric}{side}"]) for side in ("", "_low", "_high"))
    return value, low, high


def _compared(found: Result, winner: Priced, other: Candidate) -> Iterator[Comparison]:
    beside = _priced(design_of(found.searched, other).estimate())
    for metric in (o.metric for o in found.objectives if o.metric in METRICS):
        known = ratio(metric, beside, winner)
        yield Comparison(other, metric, float(known.value), float(known.low), float(known.high))


def _priced(design: Estimate) -> Priced:
    return Priced(design.recipe.name, design.metrics, design.steps, design.trust, design.workload.decode_steps)
