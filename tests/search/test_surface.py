"""The response surface against closed forms, another library, and brute force."""

from typing import Any

import numpy as np
import pytest

from dovetail.search import Space
from dovetail.search.lattice import Lattice
from dovetail.search.surface import Coordinates, Process, Surface, by_logarithm

KEYS: dict[str, Any] = {
    "models": ["m"], "recipes": ["none", "int4", "int8"], "objectives": ["tpot", "area"],
    "machines": ["plain", {"template": "gpu-like", "sms": {"from": 4, "to": 200, "by": 1}, "l2": ["1 MB", "10 MB"]}],
    "workload": {"batch": [1, 2, 4, 8, 16], "prompt": 1, "output": 1},
}  # fmt: skip


def law(lattice: Lattice, numbers: Any) -> np.ndarray:
    """Costs (points, 2) that are power laws of the numbers, times a factor for each recipe."""
    rows = []
    for number in numbers:
        place = lattice.place(int(number))
        machine = lattice.space.machines[place["machine"]]
        values = {axis.name: float(axis.values[place[axis.name]]) for axis in lattice.space.axes_of(machine)}
        sms, batch = values.get("sms", np.sqrt(4 * 200)), values["batch"]
        factor = [3.0, 1.0, 1.7][place["recipe"]]
        rows.append((factor * batch**0.5 / sms, 5.0 * sms * values.get("l2", np.sqrt(1e13)) ** 0.1))
    return np.asarray(rows)


def test_coordinates_tell_points_apart_and_run_from_0_to_1() -> None:
    lattice = Lattice(Space.of(**KEYS))
    at = Coordinates(lattice).of(range(lattice.size))
    assert at.min() == 0.0
    assert at.max() == 1.0
    assert len(np.unique(at, axis=0)) == lattice.size
    batches = [lattice.place(n)["batch"] for n in range(lattice.size)]
    column = next(c for c in at.T if set(np.round(c, 6)) == {0.0, 0.25, 0.5, 0.75, 1.0})
    assert np.allclose(column, np.asarray(batches) / 4)  # powers of two are evenly spaced by logarithm


def test_a_process_is_that_of_another_library() -> None:
    gaussian: Any = pytest.importorskip("sklearn.gaussian_process", reason="scikit-learn is not installed")
    draw = np.random.default_rng(0)
    at, asked = draw.random((30, 3)), draw.random((20, 3))
    values = np.sin(5 * at[:, 0]) + at[:, 1] ** 2
    ours = Process(3)
    ours.lengths = np.asarray([0.3, 1.0, 3.0])
    ours.fit(at, values)
    rest = (values - np.column_stack((np.ones(30), at)) @ ours.trend) / ours.scale
    theirs = gaussian.GaussianProcessRegressor(
        gaussian.kernels.Matern(length_scale=ours.lengths, nu=2.5), alpha=1e-5, optimizer=None
    ).fit(at, rest)
    mean, deviation = theirs.predict(asked, return_std=True)
    expected = np.column_stack((np.ones(20), asked)) @ ours.trend + ours.scale * mean
    assert np.allclose(ours(asked)[0], expected, atol=1e-8)
    assert np.allclose(ours(asked)[1], ours.scale * deviation, atol=1e-6)


def test_lengths_grow_along_what_does_not_matter() -> None:
    at = np.random.default_rng(1).random((80, 2))
    process = Process(2)
    process.tune(at, np.sin(12 * at[:, 0]))
    assert process.lengths[0] < 1.0 < process.lengths[1]


def test_a_power_law_is_foreseen_where_nobody_looked() -> None:
    lattice, draw = Lattice(Space.of(**KEYS)), np.random.default_rng(2)
    free = [n for n in range(lattice.size) if lattice.place(n)["machine"] == 1]
    seen, rest = np.split(draw.permutation(free)[:400], [100])
    surface = Surface(lattice, 2, 0)
    assert surface.fit(seen.tolist(), law(lattice, seen), np.zeros(100))
    for k, process in enumerate(surface.costs):
        foreseen = process(surface.coordinates.of(rest.tolist()))[0]
        assert np.abs(foreseen - by_logarithm(law(lattice, rest))[:, k]).max() < 1e-3


def test_what_pushes_a_front_most_is_chosen_and_what_misses_a_constraint_is_not() -> None:
    lattice, draw = Lattice(Space.of(**KEYS)), np.random.default_rng(3)
    seen, asked = np.split(draw.permutation(lattice.size)[:500], [200])
    costs = law(lattice, seen)
    excess = np.where(costs[:, 1] > 3000, costs[:, 1] / 3000, 0.0)
    surface = Surface(lattice, 2, 0)
    assert surface.fit(seen.tolist(), costs, excess)
    good = costs[excess == 0]
    front = good[[not ((good <= one).all(axis=1) & (good < one).any(axis=1)).any() for one in good]]
    chosen = surface.pushing(asked.tolist(), front, 10)
    assert len(set(chosen)) == 10
    logs = by_logarithm(front)
    low, span = logs.min(axis=0), np.ptp(logs, axis=0)
    real = (by_logarithm(law(lattice, asked)) - low) / span
    push = np.asarray([min((one - mine).max() for one in (logs - low) / span) for mine in real])
    push[law(lattice, asked)[:, 1] > 3000] = -1.0
    ranks = {int(n): int(r) for n, r in zip(asked, np.argsort(np.argsort(-push)), strict=True)}
    assert ranks[chosen[0]] <= 2
    assert sum(law(lattice, chosen)[:, 1] > 3000) <= 1
    assert np.mean([push[list(asked).index(n)] for n in chosen]) > np.quantile(push, 0.9)


def test_too_few_designs_make_no_surface() -> None:
    lattice = Lattice(Space.of(**KEYS))
    assert not Surface(lattice, 2, 0).fit([1, 2, 3], law(lattice, [1, 2, 3]), np.zeros(3))
    every = list(range(50))
    assert not Surface(lattice, 2, 0).fit(every, law(lattice, every), np.full(50, 2.0))
