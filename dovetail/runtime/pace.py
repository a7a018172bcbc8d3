"""Progress of long work in words: how much is done, how long the rest takes at this pace, memory so far."""

from __future__ import annotations

import time
from collections.abc import Callable

from dovetail.runtime.memory import resident_bytes

_EVERY_S = 5.0  # between two lines about small steps


class Pace:
    """Counts steps towards `total` and says where it stands, at most every few seconds.

    Parameters
    ----------
    done : int
        Steps that were finished before, by another run.
    every_s : float
        Least time between two lines; 0 for one after every step.
    """

    def __init__(
        self, total: int, what: str, report: Callable[[str], None], *, done: int = 0, every_s: float = _EVERY_S
    ) -> None:
        self.total, self.what, self.report, self.done, self.every_s = total, what, report, done, every_s
        self._before, self._began, self._said = done, time.monotonic(), time.monotonic()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        now = time.monotonic()
        if now - self._said >= self.every_s:
            self._said = now
            self.report(self.words(now - self._began))

    def words(self, seconds: float) -> str:
        """``layer 3 of 32, 4 min to go, 1.2 GB of memory at most``, `seconds` after the start."""
        left = seconds / (self.done - self._before) * (self.total - self.done)
        peak = resident_bytes("VmHWM")
        memory = f", {peak / 1e9:.1f} GB of memory at most" if peak else ""
        return f"{self.what} {self.done} of {self.total}, {duration(left)} to go{memory}"


def duration(seconds: float) -> str:
    """``42 s``, ``3 min``, ``1 h 20 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
