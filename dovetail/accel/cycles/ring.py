"""The weight stream: when words arrive that are asked for in order, while the ring has room."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Port:
    """The memory port.

    Parameters
    ----------
    latency : int
        Cycles from request to response.
    interval : float
        Cycles between words, at least 1.
    """

    latency: int
    interval: float


@dataclass(slots=True)
class Ring:
    """Words in flight and in the ring; time in cycles.

    Parameters
    ----------
    port : Port
    depth : int
        Words of the ring.
    free : float
        When the fetcher can ask for the next word.
    """

    port: Port
    depth: int
    free: float = 0.0
    asked: int = 0
    words: int = 0
    given: list[tuple[int, float]] = field(default_factory=lambda: [(0, 0.0)])  # words given back in all, and when
    seen: int = 0

    def fetch(self, words: int, not_before: float) -> tuple[float, float]:
        """When the first and the last of the next `words` words can be read."""
        now, first, left = max(self.free, not_before), -1.0, words
        while left:
            while self.seen + 1 < len(self.given) and self.given[self.seen + 1][1] <= now:
                self.seen += 1
            some = min(left, self.given[self.seen][0] + self.depth - self.asked)
            if some <= 0:
                now = self.given[self.seen + 1][1]
                continue
            first = now if first < 0 else first
            now += some * self.port.interval
            self.asked += some
            left -= some
        self.free = now
        return first + self.port.latency + 1, now - self.port.interval + self.port.latency + 1

    def give(self, words: int, when: float) -> None:
        """Words that the matrix engine has read for the last time."""
        self.given.append((self.given[-1][0] + words, when))

    def steal(self, words: int) -> None:
        """Words that others move through the port meanwhile."""
        self.free += words * self.port.interval
