"""One numeric axis of a space."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import ByContent
from dovetail.search.expression import Constraint


@dataclass(frozen=True, slots=True, eq=False)
class Axis(ByContent):
    """One numeric axis: distinct values, shape (values,)."""

    name: str
    values: NDArray[np.float64]

    def meeting(self, *rules: Constraint) -> Axis:
        """The axis with the values that meet those `rules` which are about it."""
        values = self.values
        for rule in rules:
            values = values[rule.holds(values)] if rule.metric == self.name else values
        return Axis(self.name, values)
