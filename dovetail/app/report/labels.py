"""Where labels go: beside their marks without touching each other, or not at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dovetail.app.report.markup import Raw, join
from dovetail.app.report.svg import SIZE, line, width_of, words_at

Box = tuple[float, float, float, float]  # left, top, right, bottom


def _touch(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@dataclass(slots=True)
class Placer:
    """Finds room for labels inside `frame`; nothing may cover a box of `taken`, `soft` is better left free."""

    frame: Box
    taken: list[Box] = field(default_factory=list)
    soft: list[Box] = field(default_factory=list)

    def block(self, x: float, y: float, radius: float = 5) -> None:
        """Keep labels off a mark at (x, y)."""
        self.taken.append((x - radius, y - radius, x + radius, y + radius))

    def avoid(self, points: Sequence[tuple[float, float]]) -> None:
        """Prefer to keep labels off a line through pixel positions."""
        for (x1, y1), (x2, y2) in pairwise(points):
            steps = max(1, int(max(abs(x2 - x1), abs(y2 - y1)) // 6))
            for i in range(steps + 1):
                x, y = x1 + (x2 - x1) * i / steps, y1 + (y2 - y1) * i / steps
                self.soft.append((x - 1.5, y - 1.5, x + 1.5, y + 1.5))

    def place(self, x: float, y: float, words: str, look: str = "", gap: float = 8, tie: bool = True) -> Raw | None:
        """The label of a mark at (x, y) in the first free place around it, tied to it by a thin line when far.

        ``None`` when there is no room.
        """
        spots = self._spots(x, y, width_of(words), gap)
        free = [spot for spot in spots if self._fits(spot[2])]
        best = next((spot for spot in free if not any(_touch(spot[2], s) for s in self.soft)), None)
        if best is None and not free:
            return None
        left, base, taken = best or free[0]
        self.taken.append(taken)
        label = words_at(left, base, words, class_=f"label {look}".strip())
        near_x, near_y = min(max(x, taken[0]), taken[2]), min(max(y, taken[1]), taken[3])
        far = math.dist((x, y), (near_x, near_y)) > gap * 1.6 and tie
        return join([line(x, y, near_x, near_y, "pointer"), label]) if far else label

    def _fits(self, spot: Box) -> bool:
        left, top, right, bottom = self.frame
        inside = spot[0] >= left and spot[1] >= top and spot[2] <= right and spot[3] <= bottom
        return inside and not any(_touch(spot, other) for other in self.taken)

    @staticmethod
    def _spots(x: float, y: float, width: float, gap: float) -> list[tuple[float, float, Box]]:
        """(left, baseline, box) of the candidates: right, left, above, below, then the corners, near before far."""
        spots = []
        for reach in (gap, gap * 2.2):
            beside, before, middle = x + reach, x - reach - width, x - width / 2
            level, above, below = y + SIZE * 0.35, y - reach, y + reach + SIZE * 0.75
            for left, base in ((beside, level), (before, level), (middle, above), (middle, below), (beside, above),
                               (before, above), (beside, below), (before, below)):  # fmt: skip
                spots.append((left, base, (left - 1, base - SIZE * 0.85, left + width + 1, base + SIZE * 0.3)))
        return spots


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """`places` moved as little as needed to lie `gap` apart within [low, high]; closer together when they cannot."""
    if not places:
        return []
    gap = min(gap, (high - low) / max(len(places) - 1, 1))
    order = sorted(range(len(places)), key=lambda i: places[i])
    spots: list[float] = []
    for i in order:
        spots.append(max(places[i], spots[-1] + gap if spots else low))
    limit = high
    for k in range(len(spots) - 1, -1, -1):
        spots[k] = limit = min(spots[k], limit)
        limit -= gap
    moved = dict(zip(order, spots, strict=True))
    return [moved[i] for i in range(len(places))]
