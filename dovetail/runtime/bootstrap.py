"""Percentile bootstrap (Efron) of means per token: whole documents are drawn, since the tokens of one depend."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

RESAMPLES = 2000
_SEED = 2410
_AT_ONCE = 1 << 22  # numbers drawn together


def resampled(sums: np.ndarray, tokens: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A statistic of the means per token over documents drawn with replacement, the same draws for all columns.

    Parameters
    ----------
    sums : (documents, k)
        Sums over the tokens of each document.
    tokens : (documents,)
    statistic : callable
        From means (draws, k) to (draws,) or (draws, j).

    Returns
    -------
    ndarray (RESAMPLES,) or (RESAMPLES, j)
    """
    source, count, found = np.random.default_rng(_SEED), len(tokens), []
    block = max(1, min(RESAMPLES, _AT_ONCE // (count * sums.shape[1])))
    for begin in range(0, RESAMPLES, block):
        picks = source.integers(count, size=(min(block, RESAMPLES - begin), count))
        found.append(statistic(sums[picks].sum(1) / tokens[picks].sum(1)[:, None]))
    return np.concatenate(found)


def interval(draws: np.ndarray, value: float) -> tuple[float, float]:
    """The 95 % interval of `draws`, widened to hold `value`."""
    low, high = (float(q) for q in np.quantile(draws, (0.025, 0.975)))
    return min(low, value), max(high, value)
