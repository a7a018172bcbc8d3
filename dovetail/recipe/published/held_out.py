"""How far forecasts are from the tables: every model left out in turn, with all its rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.recipe.published.fit import Array, fit, fitting, learnt, scored, target, usable
from dovetail.recipe.published.rows import Row

LEVEL = 0.9  # share of publications that a forecast's interval is made for
MANY = 30  # rows from which on a method's own errors count


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Forecasts of rows whose model (or family) the fit never saw; arrays are (rows,)."""

    rows: tuple[Row, ...]
    parts: tuple[str, ...]  # what was left out with each row
    mean: Array  # expected log excess
    deviation: Array
    observed: Array  # log excess as published

    @property
    def error(self) -> Array:
        """Relative error of the rise of perplexity: forecast / published - 1."""
        return np.expm1(self.mean - self.observed)

    @property
    def standardised(self) -> Array:
        """Distance in standard deviations."""
        return np.abs(self.mean - self.observed) / self.deviation

    def spread(self, method: str = "", without: str = "") -> float:
        """Deviations that hold `LEVEL` of the rows but those of one part (conformal: the quantile of n + 1).

        Papers agree less on some methods than on others: one with `MANY` rows has at least the width that it needs.
        """
        kept = np.array([part != without for part in self.parts])
        ours = kept & np.array([row.case.method == method for row in self.rows])
        common = _quantile(self.standardised[kept])
        return max(common, _quantile(self.standardised[ours])) if ours.sum() >= MANY else common

    def covered(self) -> NDArray[np.bool_]:
        """Whether each row is in its interval, whose width comes from the rows of the other parts alone."""
        asked = [(row.case.method, part) for row, part in zip(self.rows, self.parts)]
        width = {one: self.spread(*one) for one in dict.fromkeys(asked)}
        found: NDArray[np.bool_] = self.standardised <= np.array([width[one] for one in asked])
        return found


def _quantile(values: Array) -> float:
    ordered = np.sort(values)
    return float(ordered[min(len(ordered) - 1, math.ceil((len(ordered) + 1) * LEVEL) - 1)])


def held_out(
    rows: Sequence[Row], part: Callable[[Row], str] = lambda row: row.case.model, *, relearn: bool = False
) -> HeldOut:
    """Leave each part out, fit the rest, forecast the part's rows that can be judged.

    Parameters
    ----------
    part : callable
        What is left out together: the model by default.
    relearn : bool
        Search the variances of the offsets again on what is left, so that not even they have seen the part.
    """
    known = [row for row in rows if usable(row)]
    found: list[tuple[Row, str, float, float]] = []
    for name in dict.fromkeys(part(row) for row in known if scored(row)):
        rest, asked = (
            [r for r in known if part(r) != name and fitting(r)],
            [r for r in known if part(r) == name and scored(r)],
        )
        made = fit(rest, *learnt(rest)) if relearn else fit(rest)
        found += [(row, name, *pair) for row, pair in zip(asked, zip(*made.predict([r.case for r in asked])))]
    kept, parts, mean, deviation = zip(*found)
    observed = np.array([target(row)[0] for row in kept])
    return HeldOut(tuple(kept), tuple(parts), np.array(mean), np.array(deviation), observed)
