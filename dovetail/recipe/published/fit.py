"""A mixed-effects fit of how much perplexity rises: few physical slopes, and offsets that shrink to nothing unseen.

The logarithm of the excess, ``ln(perplexity / dense - 1)``, is a sum of

- slopes: weight bits (noise of rounding falls by 4 a bit, so about 1.39 for each bit fewer is expected), logarithm of
  the number of groups, zero points, activations and caches of fewer bits, smallness, the logarithm of training tokens
  (models trained longer have less redundancy to lose: Llama 3 and Qwen 3 quantise worse than Llama 2 of their size);
  groups and tokens matter more the fewer the bits;
- offsets with a prior of their own variance: of the method, of the method at these bits, of the whole scheme, of the
  source (each paper calibrates and evaluates its own way), of the model, of the scheme in that source. A family has
  none: tokens stand for it, and two or three models cannot tell theirs from its own.

It is the best linear unbiased prediction (Henderson 1975; the same as a Gaussian process with this covariance), made
robust by Huber weights. Offsets of a model or paper that is not in the tables are zero with their variance:
that is where the width of a forecast comes from.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.recipe.published.rows import OLDER, PLAIN, Case, Row

Array = NDArray[np.float64]

CENTRE = -2.5  # of the prior: an excess of 8 %
SLOPES = np.array([9.0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])  # prior variances of what multiplies `columns`: weak
# Variances of the offsets, those of largest marginal likelihood on the rows that `fitting` picks (`learnt`).
VARIANCES = {
    "method": 0.75, "bits": 0.11, "scheme": 0.005, "source": 0.17, "model": 0.19, "repeat": 0.033,
}  # fmt: skip
NOISE = 0.06  # variance that is left, beside that of rounding
HUBER = 1.5  # standard deviations from which on a row counts less
TOKENS = 2e12  # of the reference, Llama 2; a row whose makers do not say counts as that
SMALL = 1e9  # parameters; models much larger than this lose about the same, smaller ones more
COLUMNS = 4096  # inputs of a row, where a scale is that of a whole row
COLLAPSE = math.e - 1.0  # an excess from which on a model is broken, and by how much is chance
RESOLVED = 4.0  # rounding errors that a rise must have to be judged


def columns(case: Case) -> list[float]:
    """What the slopes multiply: nothing but the first for a large model of 2 T tokens at 4 bits, one scale a row."""
    fewer = float(4 - case.weight)
    pieces = math.log(COLUMNS / (case.group or COLUMNS))
    longer = math.log((case.tokens or TOKENS) / TOKENS)
    return [
        1.0,
        fewer,
        pieces,
        pieces * fewer,
        float(case.act < PLAIN),
        float(case.act < 8),
        float(case.kv < PLAIN),
        float(case.asym),
        math.log1p(SMALL / case.parameters),
        longer,
        longer * fewer,
    ]


def groups(case: Case) -> dict[str, Hashable]:
    """What shares an offset; None shares with nothing."""
    scheme = (case.method, case.weight, case.act, case.kv, case.group, case.asym)
    return {
        "method": case.method, "bits": (case.method, case.weight, case.act), "scheme": scheme,
        "source": case.source or None, "model": case.model or None,
        "repeat": (case.source, scheme) if case.source else None,
    }  # fmt: skip


def covariance(left: Sequence[Case], right: Sequence[Case], variances: Mapping[str, float]) -> Array:
    """Prior covariance of the expected log excess, (left, right)."""
    found: Array = np.array([columns(c) for c in left]) * SLOPES @ np.array([columns(c) for c in right]).T
    ours, theirs = [groups(c) for c in left], [groups(c) for c in right]
    for name, variance in variances.items():
        number: dict[Hashable, int] = {None: -1}
        a = np.array([number.setdefault(g[name], len(number)) for g in ours])
        b = np.array([number.setdefault(g[name], len(number)) for g in theirs])
        found += variance * ((a[:, None] == b) & (a[:, None] >= 0))
    return found


def usable(row: Row) -> bool:
    """Whether a row is of a base model of today's kind that still works.

    Perplexity on an encyclopedia does not measure the loss of a chat model: it falls in some published rows.
    """
    return row.case.family not in OLDER and not row.chat and row.excess < COLLAPSE


def fitting(row: Row) -> bool:
    """Whether a row teaches: usable, and not in doubt."""
    return usable(row) and not row.doubt


def scored(row: Row) -> bool:
    """Whether a forecast of the row can be judged: its rise is well above the rounding of the printed numbers."""
    return usable(row) and math.log1p(row.excess) > RESOLVED * row.error


def target(row: Row) -> tuple[float, float]:
    """Log excess of a row and its variance from rounding; below the rounding, the rounding itself."""
    rise = max(math.log1p(row.excess), row.error, 1e-6)
    return math.log(math.expm1(rise)), (row.error / rise) ** 2


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """The fit to some rows: predicts the log excess of any case."""

    cases: tuple[Case, ...]
    solved: Array  # inverse covariance times what was observed, (rows,)
    inverse: Array  # (rows, rows)
    variances: Mapping[str, float]
    noise: float
    weight: Array  # how much each row counted, (rows,)

    def predict(self, cases: Sequence[Case]) -> tuple[Array, Array]:
        """Expected log excess, and its standard deviation for one more publication of it, (cases,)."""
        cross = covariance(cases, self.cases, self.variances)
        prior = np.array([covariance([c], [c], self.variances)[0, 0] for c in cases]) + self._unseen(cases)
        spread = prior - np.einsum("ij,jk,ik->i", cross, self.inverse, cross) + self.noise
        return CENTRE + cross @ self.solved, np.sqrt(np.maximum(spread, self.noise))

    def _unseen(self, cases: Sequence[Case]) -> Array:
        """Variance of offsets that a nameless case has too, though it shares them with nothing."""
        return np.array([sum(self.variances[n] for n, g in groups(c).items() if g is None) for c in cases])


def fit(rows: Sequence[Row], variances: Mapping[str, float] = VARIANCES, noise: float = NOISE) -> Fitted:
    """Fit to `rows`; rows far from the rest count less (Huber)."""
    cases = tuple(row.case for row in rows)
    observed, spread = _observed(rows, noise)
    prior = covariance(cases, cases, variances)
    weight = np.ones(len(cases))
    for _ in range(6):
        solved = np.linalg.solve(prior + np.diag(spread / weight), observed - CENTRE).astype(np.float64)
        weight = _weights(solved, spread, weight)
    inverse = np.linalg.inv(prior + np.diag(spread / weight)).astype(np.float64)
    return Fitted(cases, inverse @ (observed - CENTRE), inverse, variances, noise, weight)


def _observed(rows: Sequence[Row], noise: float) -> tuple[Array, Array]:
    """Log excesses and what they scatter by themselves, (rows,) each."""
    observed, rounding = zip(*map(target, rows))
    return np.array(observed), noise + np.array(rounding)


def _weights(solved: Array, spread: Array, weight: Array) -> Array:
    """Huber weights of the residuals that a solution leaves."""
    residual = np.abs(np.sqrt(spread) / weight * solved)
    found: Array = np.minimum(1.0, HUBER / np.maximum(residual, 1e-9))
    return found


def learnt(rows: Sequence[Row], rounds: int = 3) -> tuple[dict[str, float], float]:
    """Variances and noise of largest marginal likelihood, searched one by one from those of this file.

    Rows count as little there as they do in the fit with the variances found so far.
    """
    cases = [row.case for row in rows]
    slopes = covariance(cases, cases, {})
    parts = {name: covariance(cases, cases, {name: 1.0}) - slopes for name in VARIANCES}
    found = {**VARIANCES, "noise": NOISE}
    for step in (2.0, 1.5, 1.2)[:rounds]:
        made = fit(rows, {name: found[name] for name in VARIANCES}, found["noise"])

        def likelihood(tried: Mapping[str, float], made: Fitted = made) -> float:
            observed, spread = _observed(rows, tried["noise"])
            whole = slopes + np.diag(spread / made.weight) + sum(tried[name] * parts[name] for name in parts)
            lower = np.linalg.cholesky(whole)
            white = np.linalg.solve(lower, observed - CENTRE)
            kept = sum((math.log(v) + 3.5) ** 2 for v in tried.values())  # an offset without evidence: small, not zero
            return float(-0.5 * white @ white - np.log(np.diag(lower)).sum() - 0.05 * kept)

        for name in found:
            tries = [{**found, name: found[name] * factor} for factor in (1 / step**2, 1 / step, 1.0, step, step**2)]
            found = max(tries, key=likelihood)
    return {name: found[name] for name in VARIANCES}, found["noise"]
