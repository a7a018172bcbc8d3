"""When a guided search has seen enough: nothing that it still finds is certainly new."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dovetail.search.archive import Archive
from dovetail.search.expression import Objective

PATIENCE = 5  # batches without anything certain

Ends = tuple[NDArray[np.float64], NDArray[np.float64]]


class Settled:
    """True once `patience` batches in a row brought no design that is certainly new.

    A design of the front is certainly new where each design of the front before it is worse in some objective even if
    the new one is as bad, and the other as good, as their intervals allow. Without intervals every new design is.
    """

    def __init__(self, objectives: Sequence[Objective], patience: int = PATIENCE) -> None:
        self.objectives, self.patience = tuple(objectives), patience
        self.before: set[int] = set()
        self.known: Ends = (np.empty((0, len(self.objectives))),) * 2
        self.idle = 0

    def __call__(self, archive: Archive) -> bool:
        """Asked after each batch."""
        best, worst = self._ends(archive)
        fresh = np.asarray([int(i) not in self.before for i in archive.index], bool)
        if self.before:
            certain = (worst[fresh][:, None, :] < self.known[0][None, :, :]).any(axis=2).all(axis=1)
            self.idle = 0 if certain.any() else self.idle + 1
        self.before, self.known = {int(i) for i in archive.index}, (best, worst)
        return self.idle >= self.patience

    def _ends(self, archive: Archive) -> Ends:
        """The best and the worst that each design of the front may cost, (front, objectives)."""
        best, worst = archive.costs.copy(), archive.costs.copy()
        for i, goal in enumerate(self.objectives):
            sides = [archive.rows.get(f"{goal.metric}_{side}") for side in ("low", "high")]
            if any(side is None for side in sides):
                continue
            ends = np.stack([goal.cost(np.asarray(side, float)) for side in sides])
            known = np.isfinite(ends).all(axis=0)
            best[:, i] = np.where(known, ends.min(axis=0), best[:, i])
            worst[:, i] = np.where(known, ends.max(axis=0), worst[:, i])
        return best, worst
