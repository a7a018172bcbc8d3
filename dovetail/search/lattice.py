"""The points of a space as numbers, and as the choices that a sampler makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search.space import Space, Structure

_PARTS = ("model", "recipe", "machine", "tp", "pp")


class Lattice:
    """Numbers of points (`Space.offsets` and the row of the structure) to places on every axis, and back.

    A place is ``{"model": 0, "recipe": 2, "machine": 1, "tp": 0, "pp": 0, AXIS: 3, …}``: positions in the space's
    lists.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.structures = list(space.structures())
        self.offsets = space.offsets()
        names = (space.models, space.recipes, space.machines, space.plans, space.pipes)
        self.names: dict[str, tuple[Any, ...]] = dict(zip(_PARTS, names, strict=True))
        self._numbers = {s: i for i, s in enumerate(self.structures)}
        self._axes = {m: space.axes_of(m) for m in space.machines}

    @property
    def size(self) -> int:
        """Points."""
        return int(self.offsets[-1])

    def structure(self, index: int) -> int:
        """The number of a point's structure."""
        return int(np.searchsorted(self.offsets, index, side="right")) - 1

    def sides(self, machine: int) -> dict[str, int]:
        """Axis -> how many places it has, for the machine with that position."""
        own = {axis.name: len(axis.values) for axis in self._axes[self.space.machines[machine]]}
        return {name: len(self.names[name]) for name in _PARTS} | own

    def place(self, index: int) -> dict[str, int]:
        """Where a point lies."""
        number = self.structure(index)
        s = self.structures[number]
        axes = self._axes[s.machine]
        places = np.unravel_index(index - int(self.offsets[number]), [len(a.values) for a in axes])
        own = {axis.name: int(p) for axis, p in zip(axes, places, strict=True)}
        parts: tuple[Any, ...] = (s.model, s.recipe, s.machine, s.tp, s.pp)
        named = {n: self.names[n].index(v) for n, v in zip(_PARTS, parts, strict=True)}
        return named | own

    def index(self, place: Mapping[str, int]) -> int:
        """The number of the point at a place; axes that its machine lacks are ignored."""
        space = self.space
        s = Structure(
            space.models[place["model"]], space.recipes[place["recipe"]], space.machines[place["machine"]],
            space.plans[place["tp"]], space.pipes[place["pp"]],
        )  # fmt: skip
        axes = self._axes[s.machine]
        row = np.ravel_multi_index([place[axis.name] for axis in axes], [len(a.values) for a in axes])
        return int(self.offsets[self._numbers[s]] + row)

    def columns(self, number: int, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Columns of rows of a structure."""
        axes = self._axes[self.structures[number].machine]
        places = np.unravel_index(rows, [len(a.values) for a in axes])
        return {axis.name: axis.values[place] for axis, place in zip(axes, places, strict=True)}

    def neighbour(self, index: int, draw: np.random.Generator) -> int:
        """A point that differs in one thing, or two: another name, or a step of a power of two along an axis."""
        place = self.place(index)
        for _ in range(int(draw.integers(1, 3))):
            sides = self.sides(place["machine"])
            free = [name for name, count in sides.items() if count > 1]
            if not free:
                return index
            name = str(draw.choice(free))
            place[name] = _moved(place[name], sides[name], name in _PARTS, draw)
            for axis, count in self.sides(place["machine"]).items():  # another machine has axes of its own
                place[axis] = min(place[axis], count - 1) if axis in place else int(draw.integers(count))
        return self.index(place)


def _moved(place: int, count: int, named: bool, draw: np.random.Generator) -> int:
    """Another position among `count`: any for names, nearby for numbers."""
    if named:
        return int((place + draw.integers(1, count)) % count)
    step = int(2 ** draw.integers(0, max(1, int(np.log2(count)))))
    return int(np.clip(place + draw.choice([-step, step]), 0, count - 1))
