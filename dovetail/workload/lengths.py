"""Prompt and output lengths: fixed, or a distribution reduced to a few equally likely points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True, eq=False)
class Lengths(ByContent):
    """Lengths in tokens that occur equally often: the mid-quantiles of a distribution, shape (quantiles,)."""

    tokens: np.ndarray

    @property
    def mean(self) -> float:
        return float(np.mean(self.tokens))

    @staticmethod
    def lognormal(mean: float, cv: float, quantiles: int = 16) -> Lengths:
        """Mid-quantiles of the log-normal with this mean (tokens) and coefficient of variation.

        With ``sigma^2 = ln(1 + cv^2)`` and ``mu = ln(mean) - sigma^2 / 2`` (closed form of the log-normal's moments);
        the points are rescaled so that their mean is the mean asked for, which the cut tail would otherwise lower.
        """
        if not (1 <= mean < np.inf and 0 <= cv < np.inf and quantiles >= 1):
            raise DovetailError(
                "a length distribution needs mean >= 1 token, cv >= 0 and at least one quantile",
                where="lengths",
                why=f"mean={mean}, cv={cv}, quantiles={quantiles}",
            )
        sigma = np.sqrt(np.log1p(cv * cv))
        from statistics import NormalDist  # drags in decimal and random: not at import

        unit = NormalDist()
        z = np.array([unit.inv_cdf((i + 0.5) / quantiles) for i in range(quantiles)])
        points = np.exp(np.log(mean) - sigma**2 / 2 + sigma * z)
        return Lengths(np.maximum(1, np.rint(points * (mean / points.mean()))))

    @staticmethod
    def observed(tokens: Sequence[int] | np.ndarray, quantiles: int = 16) -> Lengths:
        """Mid-quantiles of observed lengths (a trace's column), to whole tokens."""
        values = np.asarray(tokens, float)
        if values.size == 0 or not np.all(np.isfinite(values)) or values.min() < 0 or quantiles < 1:
            raise DovetailError("observed lengths must be finite, non-negative and not empty", where="lengths")
        return Lengths(np.rint(np.quantile(values, (np.arange(quantiles) + 0.5) / quantiles)))
