"""A cheap evaluator put right by what a dear one said: ratios of measured to foreseen, learned as a search goes on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search.answer import Columns, Evaluator
from dovetail.search.metrics import METRICS
from dovetail.search.space import Structure

Key = tuple[str, ...]


class Corrected:
    """`cheap`, each metric times the median of the ratios that were seen nearest to a design.

    Nearest is the same structure; else by another plan, on another machine, with another recipe. A metric that
    no dear evaluation had stays as it is.
    """

    def __init__(self, cheap: Evaluator) -> None:
        self.cheap = cheap
        self.seen: dict[tuple[str, Key], list[float]] = defaultdict(list)

    def learn(self, structure: Structure, columns: Columns, dear: Columns) -> None:
        """Take in what the dear evaluator said of rows of a structure: `columns` were chosen, `dear` are metrics."""
        foreseen = self.cheap(structure, columns)
        for name in (n for n in foreseen if n in METRICS and n in dear):
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.log(np.asarray(dear[name], float) / np.asarray(foreseen[name], float))
            for key in _keys(structure):
                self.seen[name, key] += [float(v) for v in np.atleast_1d(logs) if np.isfinite(v)]

    def __call__(self, structure: Structure, columns: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Any]:
        """As the cheap evaluator, put right."""
        found = dict(self.cheap(structure, columns))
        for name in [n for n in found if n in METRICS]:
            factor = self.factor(name, structure)
            for each in (name, f"{name}_low", f"{name}_high"):
                if each in found:
                    found[each] = np.asarray(found[each]) * factor
        return found

    def known(self, structure: Structure) -> dict[str, float]:
        """What the cheap evaluator knows of a structure whatever the columns are, put right."""
        known: Mapping[str, float] = getattr(self.cheap, "known", lambda one: {})(structure)
        return {name: value * self.factor(name, structure) for name, value in known.items()}

    def factor(self, metric: str, structure: Structure) -> float:
        """What the cheap value of a metric is multiplied by."""
        logs = next((seen for key in _keys(structure) if (seen := self.seen.get((metric, key)))), None)
        return float(np.exp(np.median(logs))) if logs else 1.0


def _keys(s: Structure) -> Iterator[Key]:
    """Who learns from whom, the nearest first."""
    yield s.model, s.recipe, s.machine, str(s.tp), str(s.pp)
    yield s.model, s.recipe, s.machine
    yield s.model, s.recipe
    yield (s.model,)
