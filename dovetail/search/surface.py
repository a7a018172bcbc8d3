"""A response surface of a space: Gaussian processes over what was evaluated, which say where a front may be pushed.

A process for each objective, by logarithm, around a linear trend of the choices – a power law of numbers is one – and
one for how far a design misses its constraints. Matérn 5/2 with a length for each choice, by the likelihood of some of
the points (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, equations 2.23 to 2.25, 4.17, 5.8).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dovetail.search.lattice import Lattice

Floats = NDArray[np.float64]
LENGTHS = (0.15, 0.4, 1.0, 3.0, 10.0)  # of a choice whose values run from 0 to 1
_SOME = 120  # points that lengths are chosen by
_NOISE = 1e-5  # of a variance of 1: evaluators are functions, but not smooth ones
_RIDGE = 1e-3  # of the trend
_AGAIN = 1.5  # times as many points before lengths are chosen again
_INSIDE = -0.3  # how far a feasible point misses its constraints; an infeasible one by 0.3 more than its logarithm
_FAR = 10.0  # spans of a front that a point misses for each that it misses its constraints by
_HOPE = 0.5  # standard deviations by which a point may be better than is thought


class Coordinates:
    """Points as rows of numbers: each axis by logarithm from 0 to 1, each name of a model, recipe or machine alone."""

    def __init__(self, lattice: Lattice) -> None:
        self.lattice, self.columns = lattice, 0
        self.scales: dict[tuple[int, str], tuple[int, Floats]] = {}
        names = [(name, len(values)) for name, values in lattice.names.items() if len(values) > 1]
        self.names = {name: self._room(count) for name, count in names}
        shared: dict[str, int] = {}
        for machine, named in enumerate(lattice.space.machines):
            for axis in lattice.space.axes_of(named):
                if len(axis.values) > 1:
                    column = shared.setdefault(axis.name, self.columns)
                    self.columns = max(self.columns, column + 1)
                    self.scales[machine, axis.name] = column, _unit(axis.values)

    def _room(self, count: int) -> int:
        self.columns += count
        return self.columns - count

    def of(self, numbers: Sequence[int]) -> Floats:
        """Coordinates (points, columns); 0.5 where a machine lacks an axis."""
        found = np.full((len(numbers), self.columns), 0.5)
        for i, number in enumerate(numbers):
            place = self.lattice.place(int(number))
            for name, first in self.names.items():
                found[i, first : first + len(self.lattice.names[name])] = 0.0
                found[i, first + place[name]] = 1.0
            for name, at in place.items():
                if (scale := self.scales.get((place["machine"], name))) is not None:
                    found[i, scale[0]] = scale[1][at]
        return found


def _unit(values: Floats) -> Floats:
    places = np.log(values) if (values > 0).all() else values
    return np.asarray((places - places.min()) / max(float(np.ptp(places)), 1e-300))


class Process:
    """One quantity over the coordinates."""

    def __init__(self, columns: int) -> None:
        self.lengths = np.ones(columns)
        self.at, self.trend, self.weights = np.empty((0, columns)), np.zeros(columns + 1), np.empty(0)
        self.scale, self.root = 1.0, np.empty((0, 0))  # `root` turns values into independent ones of variance 1

    def fit(self, at: Floats, values: Floats) -> None:
        """Take in values (points,) at coordinates (points, columns)."""
        self.at, (self.trend, rest, self.scale) = at, _detrended(at, values)
        kernel = _kernel(at, at, self.lengths) + _NOISE * np.eye(len(at))
        self.root = np.linalg.inv(np.linalg.cholesky(kernel))
        self.weights = self.root.T @ (self.root @ rest)

    def tune(self, at: Floats, values: Floats) -> None:
        """Choose the lengths, one choice after the other, by the likelihood of these points."""
        _, rest, _ = _detrended(at, values)
        best = _likelihood(at, rest, self.lengths)
        for column in range(at.shape[1]):
            for length in LENGTHS:
                tried = self.lengths.copy()
                tried[column] = length
                if (found := _likelihood(at, rest, tried)) > best:
                    best, self.lengths = found, tried

    def __call__(self, at: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (points,)."""
        near = _kernel(at, self.at, self.lengths)
        left = 1.0 - ((self.root @ near.T) ** 2).sum(axis=0)
        mean = _wide(at) @ self.trend + self.scale * (near @ self.weights)
        return mean, self.scale * np.sqrt(np.maximum(left, 0.0))


def _detrended(at: Floats, values: Floats) -> tuple[Floats, Floats, float]:
    """A linear trend (columns + 1,), what it leaves (points,) in deviations, and that deviation."""
    wide = _wide(at)
    trend = np.linalg.solve(wide.T @ wide + _RIDGE * np.eye(wide.shape[1]), wide.T @ values)
    rest = values - wide @ trend
    scale = max(float(rest.std()), 1e-9)
    return np.asarray(trend, float), rest / scale, scale


def _wide(at: Floats) -> Floats:
    return np.column_stack((np.ones(len(at)), at))


def _kernel(a: Floats, b: Floats, lengths: Floats) -> Floats:
    """Matérn 5/2 (a, b)."""
    one, other = a / lengths, b / lengths
    square = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None, :] - 2.0 * one @ other.T
    far = np.sqrt(5.0 * np.maximum(square, 0.0))
    return np.asarray((1.0 + far + far**2 / 3.0) * np.exp(-far))


def _likelihood(at: Floats, values: Floats, lengths: Floats) -> float:
    root = np.linalg.cholesky(_kernel(at, at, lengths) + 1e-4 * np.eye(len(at)))
    solved = np.linalg.solve(root, values)
    return float(-0.5 * solved @ solved - np.log(np.diag(root)).sum())


class Surface:
    """What points of a space may cost, and by how much they may miss its constraints."""

    def __init__(self, lattice: Lattice, objectives: int, seed: int) -> None:
        self.coordinates, self.draw = Coordinates(lattice), np.random.default_rng(seed)
        self.costs = [Process(self.coordinates.columns) for _ in range(objectives)]
        self.miss = Process(self.coordinates.columns)
        self.bound, self.tuned = False, 0

    def fit(self, numbers: Sequence[int], costs: Floats, excess: Floats) -> bool:
        """Take in points with their costs (points, objectives) and excess, 0 where feasible; False for too few."""
        good = excess == 0
        if good.sum() < 2 * len(self.costs) + 4:
            return False
        at, tune = self.coordinates.of(numbers), len(numbers) > _AGAIN * self.tuned
        self.tuned = len(numbers) if tune else self.tuned
        for process, column in zip(self.costs, by_logarithm(costs[good]).T, strict=True):
            self._fit(process, at[good], column, tune)
        self.bound = bool((~good).any())
        if self.bound:
            by = np.minimum(np.log(np.maximum(excess, 1.0)), 1.0)
            self._fit(self.miss, at, np.where(good, _INSIDE, by - _INSIDE), tune)
        return True

    def _fit(self, process: Process, at: Floats, values: Floats, tune: bool) -> None:
        if tune:
            some = self.draw.permutation(len(at))[:_SOME]
            process.tune(at[some], values[some])
        process.fit(at, values)

    def pushing(self, numbers: Sequence[int], front: Floats, count: int) -> list[int]:
        """The `count` of some points that may push a front (designs, objectives) most, one after the other.

        A point pushes by what the front would have to give in some objective to dominate it (the additive epsilon of
        Zitzler et al., IEEE Transactions on Evolutionary Computation 7, 2003), each running from 0 to 1 over the front.
        """
        at, logs = self.coordinates.of(numbers), by_logarithm(front)
        low, span = logs.min(axis=0), np.maximum(np.ptp(logs, axis=0), 1e-9)
        told = (process(at) for process in self.costs)
        costs = (np.stack([mean - _HOPE * deviation for mean, deviation in told], axis=1) - low) / span
        missed = _FAR * np.maximum(self.miss(at)[0], 0.0) if self.bound else np.zeros(len(at))
        chosen: list[int] = []
        push = np.full(len(at), np.inf)
        for one in (logs - low) / span:
            push = np.minimum(push, (one - costs).max(axis=1) - missed)
        for _ in range(min(count, len(at))):
            chosen.append(int(np.argmax(push)))
            push = np.minimum(push, (costs[chosen[-1]] - costs).max(axis=1) - missed)
            push[chosen] = -np.inf
        return [numbers[i] for i in chosen]


def by_logarithm(costs: Floats) -> Floats:
    """Costs by logarithm, their sign kept, so that factors count alike whatever the unit."""
    return np.asarray(np.sign(costs) * np.log1p(np.abs(costs) * 1e6))
