"""Fit a kernel's few measured constants to measured calls: robust, bounded, in logarithms, pulled to typical values.

The loss is the mean |log error|, so that one disturbed call cannot pull the rest. Few calls do not tell all constants
apart; a weak pull to typical ones decides where the calls do not. Coordinate search: Hooke and Jeeves, J. ACM 1961.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError

Array = npt.NDArray[np.float64]
Constants = TypeVar("Constants", bound=Any)  # a dataclass of numbers
PULL = 0.003  # mean |log error| that a constant pays for being e times its typical value
FIT_PERCENT = 5  # of the shapes


class Scores(NamedTuple):
    """How far predictions are: mean |relative error|, the same of calls above 20 us, and sum |error| / sum truth."""

    mape: float
    long: float
    total: float

    def __str__(self) -> str:
        return " / ".join(f"{value:.1%}" for value in self)


def scores(predicted: Array, truth: Array, time_s: Array | None = None) -> Scores:
    """Errors of predictions, shape (calls,); `time_s` says which calls are long where `truth` is not their time."""
    error, long = np.abs(predicted / truth - 1), (truth if time_s is None else time_s) > 20e-6
    above = float(error[long].mean()) if long.any() else float("nan")
    return Scores(float(error.mean()), above, float(np.abs(predicted - truth).sum() / truth.sum()))


def for_fit(shape: Iterable[object]) -> bool:
    """Whether a shape is one of the 5 % that constants are fitted on: by its hash, so that everybody agrees."""
    key = ",".join(str(part) for part in shape)
    return int(hashlib.sha1(key.encode()).hexdigest(), 16) % 100 < FIT_PERCENT


def fit(
    typical: Constants,
    names: Sequence[str],
    log_errors: Callable[[Constants], Sequence[Array]],
    *,
    limits: Mapping[str, tuple[float, float]] | None = None,
    pull: float = PULL,
) -> Constants:
    """`typical` with the constants `names` moved to where measured calls are met best.

    Parameters
    ----------
    typical : dataclass
        Where the search starts and what it is pulled to.
    log_errors : callable
        Of constants, ln(predicted / measured) of groups of calls; every group weighs the same, however many its calls.
    limits : mapping
        Least and greatest value of a constant; any positive one where it has none.
    pull : float
        What a constant pays, in mean |log error|, for being e times its typical value.

    Raises
    ------
    DovetailError
        A constant to fit starts at zero or at infinity, which no factor moves.
    """
    start = np.array([float(getattr(typical, name)) for name in names])
    if not (np.isfinite(start) & (start > 0)).all():
        fixed = [name for name, value in zip(names, start, strict=True) if not 0 < value < np.inf]
        raise DovetailError(f"cannot fit {', '.join(fixed)}", where="fit", why="it starts at zero or infinity")
    least, most = np.array([(limits or {}).get(name, (0.0, np.inf)) for name in names]).reshape(-1, 2).T

    def constants(values: Array) -> Constants:
        return replace(typical, **dict(zip(names, values.tolist(), strict=True)))

    def loss(values: Array) -> float:
        if (values < least).any() or (values > most).any():
            return np.inf
        errors = [float(np.abs(group).mean()) for group in log_errors(constants(values))]
        return float(np.mean(errors)) + pull * float(np.sum(np.log(values / start) ** 2))

    return constants(search(loss, start))


def search(loss: Callable[[Array], float], start: Array, rounds: int = 60) -> Array:
    """Coordinate search on the logarithms of positive parameters; a step that does not help is halved."""
    best, value, step = start, loss(start), np.full(len(start), 0.3)
    for _ in range(rounds):
        for index in range(len(best)):
            trials = [best * np.where(np.arange(len(best)) == index, np.exp(s * step[index]), 1.0) for s in (1, -1)]
            found = [loss(trial) for trial in trials]
            better = int(np.argmin(found))
            helped = found[better] < value
            best, value = (trials[better], found[better]) if helped else (best, value)
            step[index] = min(step[index] * 1.5, 0.5) if helped else step[index] / 2
        if step.max() < 2e-3:
            break
    return best
