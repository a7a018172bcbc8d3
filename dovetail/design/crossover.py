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
from dovetail.workload import Workload

_TIMES = ("tpot", "ttft", "e2e")


@dataclass(frozen=True, slots=True)
class Gain:
    """Gain of one recipe at one context: baseline time over its time, shape (batches,); NaN where one does not fit."""

    recipe: str
    context: int
    batch: np.ndarray
    gain: np.ndarray

    def stops_at(self, worth: float = 1.0) -> int | None:
        """The first batch at which the gain is no longer above `worth`; None when it always is."""
        lost = np.flatnonzero(self.gain <= worth)
        return int(self.batch[lost[0]]) if lost.size else None


def gains(
    model: Model,
    machine: Machine,
    recipes: Sequence[str],
    batches: Sequence[int],
    contexts: Sequence[int],
    *,
    baseline: str = "none",
    metric: str = "tpot",
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

    def times(recipe: str) -> np.ndarray:
        found = table(model, machine, as_recipe(recipe), Plan(), work)
        return np.where(found["feasible"], found[metric], np.nan).reshape(len(contexts), len(batches))

    base = times(baseline)
    found = {name: base / times(name) for name in recipes}
    return [
        Gain(name, int(length), np.asarray(batches), found[name][row])
        for row, length in enumerate(contexts)
        for name in recipes
    ]
