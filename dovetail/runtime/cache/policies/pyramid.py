"""PyramidKV (Cai et al., arXiv 2406.02069): lower layers, whose attention is spread, keep more than upper ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.runtime.cache.policies.snapkv import SnapKV


@dataclass(frozen=True, slots=True)
class PyramidKV(SnapKV):
    """SnapKV's votes with budgets that fall from layer to layer in equal steps; their mean is the budget.

    Parameters
    ----------
    steep : float
        The uppermost layer keeps that part of the mean, beside the window: one in `steep`. 1: all layers alike.
    """

    steep: float = 20.0

    def __post_init__(self) -> None:
        SnapKV.__post_init__(self)
        if self.steep < 1:
            raise DovetailError(f"a pyramid of 1/{self.steep:g}", where="steep", hint="20: 1 or more")

    def kept(self, length: Number, layer: int, layers: int) -> Number:
        budget = self.budget
        newer = (np.asarray(length) - budget.keep) % budget.slack
        most = self.window + self.share(layer, layers) + newer
        return np.where(np.less(length, budget.keep + budget.slack), length, np.minimum(most, length))

    def share(self, layer: int, layers: int) -> int:
        """Tokens of a layer beside the window: rounded so that all layers add up."""
        mean = self.budget.keep - self.window
        least = mean / self.steep
        fall = 2 * (mean - least) / (layers - 1) if layers > 1 else 0.0

        def below(count: int) -> int:
            """Tokens of the first layers together."""
            first = mean + fall * (layers - 1) / 2
            return round(count * first - fall * count * (count - 1) / 2)

        return below(layer + 1) - below(layer)
