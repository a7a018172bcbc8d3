"""Forecasts of perplexity from published tables, each model left out in turn: error, coverage and width.

    python bench/quality_forecast.py

Asked: median error of the rise of perplexity at most 25 %, and 80 to 95 % of the published numbers in their intervals.
The tables are dovetail/recipe/published/tables.yaml: WikiText-2, each number with its source. A model is left out with
all its rows; the variances of the offsets and the width of the interval are found again without it. Scored are base
models of today's kind whose rise is well above the rounding of the printed numbers and that still work (`fit.scored`);
what that leaves out is counted below. Forecasts of a family, or of a paper, that the fit never saw are harder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from dovetail.recipe.published.fit import COLLAPSE, fit, fitting, scored, usable
from dovetail.recipe.published.forecast import SPREAD, fitted
from dovetail.recipe.published.held_out import HeldOut, held_out
from dovetail.recipe.published.rows import OLDER, Row, rows

MANY = 8  # rows that a line of its own needs


def scheme(row: Row) -> str:
    """``w4a16``, ``w4a8kv4``: bits alone."""
    case = row.case
    return f"w{case.weight}a{case.act}" + (f"kv{case.kv}" if case.kv < 16 else "")


def line(name: str, found: HeldOut, keep: Iterable[bool]) -> None:
    """One line of the table: rows, models, median error, share in the interval, and its factor either way."""
    pick = np.array(list(keep), bool)
    models = len({row.case.model for row, kept in zip(found.rows, pick) if kept})
    error, inside = np.median(np.abs(found.error[pick])), found.covered()[pick].mean()
    spread = np.array([found.spread(row.case.method) for row in found.rows])
    width = np.exp(np.median((spread * found.deviation)[pick]))
    print(f"{name:34}{pick.sum():6d}{models:8d}{error:10.1%}{inside:12.1%}{width:9.2f}x")


def by(label: str, found: HeldOut, key: Callable[[Row], str]) -> None:
    """A line for each value of `key` that has many rows."""
    names = [key(row) for row in found.rows]
    for name in dict.fromkeys(names):
        if names.count(name) >= MANY:
            line(f"  {label} {name}", found, [name == other for other in names])


def nameless(everything: tuple[Row, ...]) -> HeldOut:
    """Each model left out, and its rows forecast as of a paper that the fit does not know."""
    found = held_out(everything)
    mean, deviation = [], []
    for name in dict.fromkeys(found.parts):
        made = fit([row for row in everything if fitting(row) and row.case.model != name])
        asked = [replace(row.case, source="") for row, part in zip(found.rows, found.parts) if part == name]
        pair = made.predict(asked)
        mean.append(pair[0])
        deviation.append(pair[1])
    return replace(found, mean=np.concatenate(mean), deviation=np.concatenate(deviation))


def left_out(everything: tuple[Row, ...]) -> None:
    """What is not scored, and what the forecast says of it."""
    base = [row for row in everything if row.case.family not in OLDER and not row.chat]
    low = [row for row in base if usable(row) and not scored(row)]
    broken = [row for row in base if not usable(row)]
    kinds = {
        "of OPT and BLOOM": [r for r in everything if r.case.family in OLDER],
        "of chat models": [r for r in everything if r.chat],
    }
    print(f"not scored: {', '.join(f'{len(found)} {name}' for name, found in kinds.items())}")
    mean, deviation = fitted().predict([row.case for row in low])
    fits = np.mean(np.exp(mean - SPREAD * deviation) <= [4.0 * row.error + max(row.excess, 0.0) for row in low])
    print(f"not scored: {len(low)} rises below {4} rounding errors; the interval reaches there for {fits:.0%}")
    mean, deviation = fitted().predict([row.case for row in broken])
    told = np.mean(np.exp(mean + SPREAD * deviation) >= COLLAPSE)
    print(
        f"not scored: {len(broken)} models that broke (above e times the original); the interval says so for {told:.0%}"
    )


def main() -> None:
    """Print the table."""
    everything = rows()
    found = held_out(everything, relearn=True)
    models, sources = {row.case.model for row in everything}, {row.case.source for row in everything}
    print(f"{len(everything)} published perplexities of {len(models)} models from {len(sources)} tables")
    print(f"{'':34}{'rows':>6}{'models':>8}{'error':>10}{'in interval':>12}{'width':>10}")
    line("each model left out", found, [True] * len(found.rows))
    by("by", found, lambda row: row.case.method)
    by("at", found, scheme)
    by("of", found, lambda row: row.case.family)
    unknown = nameless(everything)
    line("the same, paper unknown", unknown, [True] * len(unknown.rows))
    family = held_out(everything, lambda row: row.case.family)
    line("each family left out", family, [True] * len(family.rows))
    left_out(everything)


if __name__ == "__main__":
    main()
