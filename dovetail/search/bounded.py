"""Branch and bound over the free parameters of a structure: what cannot be on the front is never evaluated.

A box is a range of values of every free parameter at one workload. What an evaluator's `bound` says of it is better
than all its points; where a design that was evaluated is nowhere worse than that and somewhere better, or where it
breaks a constraint, no point of the box can be on the front. Other boxes are halved along their two longest sides until
few points are left, which are evaluated. Land and Doig, "An automatic method of solving discrete programming problems",
Econometrica 28(3), 1960.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dovetail.search.axis import Axis
from dovetail.search.filter import Filter
from dovetail.search.space import Space

Columns = Mapping[str, NDArray[np.float64]]
Bounds = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
Bound = Callable[[Columns, Columns], Bounds]
"""``bound(low, high)``: metric -> its least and its greatest value (rows,) over all points between; and ``feasible``,
whose second says where a point may be feasible. None instead: there is no bound for this structure."""

UNIT = 1 << 21  # points of one unit of work, at most
LEAF = 8  # points of a box that is evaluated as it is
CHUNK = 8192  # boxes that are judged together, and points evaluated together at least
DOMINATED = "dominated by a design that was evaluated"
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes of one unit: rows of the axes that stay fixed (boxes,), first and last value of each other axis."""

    fixed: Ints
    low: Ints
    high: Ints

    def __len__(self) -> int:
        return len(self.fixed)

    @property
    def volume(self) -> Ints:
        """Points of each."""
        return np.asarray(np.prod(self.high - self.low + 1, axis=1), np.int64)

    def at(self, kept: NDArray[np.bool_] | Ints | slice) -> Boxes:
        """Some of them."""
        return Boxes(self.fixed[kept], self.low[kept], self.high[kept])


@dataclass(slots=True)
class Shape:
    """The axes of a structure: those that are fixed in a box, and those that a box has a range of."""

    fixed: tuple[Axis, ...]
    free: tuple[Axis, ...]
    per: int = field(init=False)

    def __post_init__(self) -> None:
        self.per = int(np.prod([len(a.values) for a in self.free], dtype=np.int64))

    @classmethod
    def of(cls, space: Space, machine: str) -> Shape:
        """As many of the free parameters in a box as `UNIT` allows; the others are fixed as the workload is."""
        axes = space.axes_of(machine)
        first = len(space.axes)
        while first < len(axes) and np.prod([float(len(a.values)) for a in axes[first:]]) > UNIT:
            first += 1
        return cls(axes[:first], axes[first:])

    def units(self) -> Iterator[tuple[int, int]]:
        """Ranges of fixed rows that are a unit of work each."""
        rows = int(np.prod([len(a.values) for a in self.fixed], dtype=np.int64))
        step = max(1, UNIT // self.per)
        return ((start, min(start + step, rows)) for start in range(0, rows, step))

    def whole(self, start: int, stop: int) -> Boxes:
        """One box for each fixed row, of everything."""
        ends = np.asarray([len(a.values) - 1 for a in self.free], np.int64)
        rows = np.arange(start, stop)
        return Boxes(rows, np.zeros((len(rows), len(ends)), np.int64), np.tile(ends, (len(rows), 1)))

    def columns(self, boxes: Boxes, places: Ints) -> dict[str, NDArray[np.float64]]:
        """Columns of the points of `boxes` whose free parameters have the values at `places` (boxes, free)."""
        fixed = np.unravel_index(boxes.fixed, [len(a.values) for a in self.fixed])
        found = {axis.name: axis.values[place] for axis, place in zip(self.fixed, fixed, strict=True)}
        return found | {axis.name: axis.values[places[:, i]] for i, axis in enumerate(self.free)}

    def ends(self, boxes: Boxes) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
        """Least and greatest columns of each box: axes may run down."""
        one, other = self.columns(boxes, boxes.low), self.columns(boxes, boxes.high)
        low = {name: np.minimum(one[name], other[name]) for name in one}
        return low, {name: np.maximum(one[name], other[name]) for name in one}

    def rows(self, boxes: Boxes) -> Ints:
        """Row numbers in the structure of all points of `boxes`, ascending."""
        found: list[Ints] = []
        sizes = boxes.high - boxes.low + 1
        for size in np.unique(sizes, axis=0):  # boxes of one size at a time
            some = boxes.at((sizes == size).all(axis=1))
            steps = np.stack(np.unravel_index(np.arange(int(np.prod(size))), size), axis=1)
            places = (some.low[:, None, :] + steps[None, :, :]).reshape(-1, len(size))
            inner = np.ravel_multi_index(tuple(places.T), [len(a.values) for a in self.free])
            found.append(np.repeat(some.fixed, len(steps)) * self.per + inner)
        return np.sort(np.concatenate(found)) if found else np.empty(0, np.int64)


def halved(boxes: Boxes) -> Boxes:
    """Each box in four, halved along its two longest sides (in two where only one is longer than a value)."""
    for _ in range(2):
        sides = boxes.high - boxes.low
        longest, every = np.argmax(sides, axis=1), np.arange(len(boxes))
        cut = sides[every, longest] > 0
        middle = (boxes.low[every, longest] + boxes.high[every, longest]) // 2
        first, second = boxes.high.copy(), boxes.low.copy()
        first[every[cut], longest[cut]] = middle[cut]
        second[every[cut], longest[cut]] = middle[cut] + 1
        boxes = Boxes(
            np.concatenate((boxes.fixed, boxes.fixed[cut])), np.concatenate((boxes.low, second[cut])),
            np.concatenate((first, boxes.high[cut])),
        )  # fmt: skip
    return boxes


@dataclass(slots=True)
class Pruning:
    """Judges boxes, and keeps count of the points that need no evaluation and why.

    `nearest` is the box that breaks a constraint by the least, and by what factor at least: what to look at where
    nothing is feasible.
    """

    space: Space
    shape: Shape
    bound: Bound
    filter: Filter
    counts: Counter[str] = field(default_factory=Counter)
    breaches: Counter[int] = field(default_factory=Counter)
    nearest: tuple[float, Boxes, str, int] | None = None

    def leaves(self, boxes: Boxes) -> Iterator[Ints]:
        """Rows that must be evaluated, in lots; the filter may grow between them."""
        stack, lot, waiting = [boxes], [], 0
        while stack:
            some = stack.pop()
            if len(some) > CHUNK:
                stack.append(some.at(slice(CHUNK, None)))
                some = some.at(slice(0, CHUNK))
            some = self.surviving(some)
            small = some.volume <= LEAF
            if small.any():
                lot.append(self.shape.rows(some.at(small)))
                waiting += len(lot[-1])
            if not small.all():
                stack.append(halved(some.at(~small)))
            if waiting >= CHUNK:
                yield np.sort(np.concatenate(lot))
                lot, waiting = [], 0
        if lot:
            yield np.sort(np.concatenate(lot))

    def surviving(self, boxes: Boxes) -> Boxes:
        """The boxes that may hold a point of the front."""
        if not len(boxes):
            return boxes
        low, high = self.shape.ends(boxes)
        found = dict(self.bound(low, high)) | {name: (low[name], high[name]) for name in low}
        excess, binding, broken = self._judged(found, len(boxes))
        bad = excess > 0
        self._count(boxes, bad, binding, excess, broken)
        beaten = ~bad
        beaten[~bad] = self.filter.beats(self._least(found, len(boxes))[~bad])
        self.counts[DOMINATED] += int(boxes.volume[beaten].sum())
        return boxes.at(~bad & ~beaten)

    def _judged(self, found: Bounds, count: int) -> tuple[NDArray[np.float64], Ints, Ints]:
        """By what factor each box misses at least, the number of that rule (-1: the design itself), all missed."""
        excess, binding = np.zeros(count), np.full(count, -1)
        broken = np.zeros(count, np.int64)
        if "feasible" in found:
            excess = np.where(found["feasible"][1], 0.0, np.maximum(found["excess"][0], 1.0))
            broken |= excess > 0
        for i, rule in enumerate(self.space.constraints):
            if rule.relative or rule.metric not in found:
                continue
            breach = rule.excess(np.broadcast_to(found[rule.metric][0 if rule.upper else 1], (count,)))
            broken |= np.where(breach > 0, 2 << i, 0)
            binding = np.where(breach > excess, i, binding)
            excess = np.maximum(excess, breach)
        return excess, binding, broken

    def _count(
        self, boxes: Boxes, bad: NDArray[np.bool_], binding: Ints, excess: NDArray[np.float64], broken: Ints
    ) -> None:
        volume = boxes.volume
        for number in np.unique(binding[bad]):
            self.counts[self._why(int(number))] += int(volume[bad & (binding == number)].sum())
        for mask in np.unique(broken[bad]):
            self.breaches[int(mask)] += int(volume[bad & (broken == mask)].sum())
        if bad.any():
            best = int(np.flatnonzero(bad)[np.argmin(excess[bad])])
            if self.nearest is None or excess[best] < self.nearest[0]:
                mask, number = int(broken[best]), int(binding[best])
                self.nearest = float(excess[best]), boxes.at(np.asarray([best])), self._why(number), mask

    def _why(self, number: int) -> str:
        return "none of these fits" if number < 0 else f"none of these can meet {self.space.constraints[number]}"

    def nearest_rows(self, most: int) -> Ints:
        """Rows of the nearest box, at most so many, to be evaluated after all; none where no box broke a rule."""
        if self.nearest is None:
            return np.empty(0, np.int64)
        _, box, why, mask = self.nearest
        rows = self.shape.rows(box)[:most]
        self.counts[why] -= len(rows)
        self.breaches[mask] -= len(rows)
        return rows

    def _least(self, found: Bounds, count: int) -> NDArray[np.float64]:
        """The best that any point of each box could have, (boxes, objectives); -inf where that is not known."""
        costs = np.full((count, len(self.space.objectives)), -np.inf)
        for i, objective in enumerate(self.space.objectives):
            if objective.metric in found:
                costs[:, i] = objective.cost(found[objective.metric][0 if objective.direction == "min" else 1])
        return costs
