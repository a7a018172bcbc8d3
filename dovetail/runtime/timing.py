"""Repeat something until a time budget is spent, and say how long it takes: median and quartiles after a warm-up."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MIN_REPEATS = 3


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one repeat: the median and the quartiles around it, over `repeats`."""

    median_s: float
    low_s: float
    high_s: float
    repeats: int


def repeat(
    work: Callable[[], object],
    budget_s: float,
    *,
    warm_up: int = 1,
    least: int = MIN_REPEATS,
    before: Callable[[], object] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time `work` until `budget_s` is spent, at least `least` times; `before` prepares each repeat, untimed."""
    seconds: list[float] = []
    started = clock()
    while len(seconds) < least + warm_up or clock() - started < budget_s:
        if before:
            before()
        begin = clock()
        work()
        seconds.append(clock() - begin)
        if len(seconds) == warm_up:
            started = clock()
    low, median, high = np.quantile(seconds[warm_up:], (0.25, 0.5, 0.75))
    return Timing(float(median), float(low), float(high), len(seconds) - warm_up)
