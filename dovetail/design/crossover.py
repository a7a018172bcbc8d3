"""From which batch and context on does a method stop paying? Time per token of each recipe against a baseline's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.design.points import table
from dovetail.design.resolve import Plan, as_recipe
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

_TIMES = ("tpot", "ttft", "e2e")


@dataclass(frozen=True, slots=True)
class Gain:
    """Gain of one recipe at one context: baseline time over its time, shape (batches,); NaN where one does not fit.

    `low` and `high` are the gain's interval, where it is known.
    """

    recipe: str
    context: int
    batch: np.ndarray
    gain: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None

    def stops_at(self, worth: float = 1.0) -> int | None:
        """The first batch at which the gain is no longer above `worth`; None when it always is."""
        return self._first(self.gain <= worth)

    def surely_until(self, worth: float = 1.0) -> int | None:
        """The last batch before the gain's interval first reaches down to `worth`; None when it already does there."""
        low = self.gain if self.low is None else self.low
        held = np.cumprod(low > worth).astype(bool)
        return int(self.batch[held][-1]) if held.any() else None

    def never_from(self, worth: float = 1.0) -> int | None:
        """The first batch from which the whole interval stays below `worth`, as far as both fit; None when none is."""
        high = self.gain if self.high is None else self.high
        lost = np.cumprod(~(high >= worth)[::-1])[::-1].astype(bool)
        return self._first(lost & np.isfinite(high))

    def _first(self, rows: np.ndarray) -> int | None:
        found = np.flatnonzero(rows)
        return int(self.batch[found[0]]) if found.size else None


def gains(
    model: Model,
    machine: Machine,
    recipes: Sequence[str | Recipe],
    batches: Sequence[int],
    contexts: Sequence[int],
    *,
    baseline: str | Recipe = "none",
    metric: str = "tpot",
    plan: Plan | None = None,
) -> list[Gain]:
    """Gain in `metric` (``tpot``, ``ttft`` or ``e2e``) of each recipe over `baseline`, for every context and batch.

    Decode happens at the context given: prompts of that length, two output tokens.

    Raises
    ------
    DovetailError
        A metric that is not a time; names the nearest.
    """
    if metric not in _TIMES:
        raise DovetailError(f"unknown metric '{metric}'", where="metric", hint=did_you_mean(metric, list(_TIMES)))
    batch, context = (a.ravel() for a in np.meshgrid(np.asarray(batches), np.asarray(contexts), indexing="xy"))
    work = Workload(prompt=context, output=2, batch=batch)

    def times(recipe: str | Recipe) -> np.ndarray:
        found = table(model, machine, as_recipe(recipe), plan or Plan(), work)
        return np.where(found["feasible"], found[metric], np.nan).reshape(len(contexts), len(batches))

    base = times(baseline)
    found = [(as_recipe(recipe).name, base / times(recipe)) for recipe in recipes]
    return [
        Gain(name, int(length), np.asarray(batches), gain[row])
        for row, length in enumerate(contexts)
        for name, gain in found
    ]
