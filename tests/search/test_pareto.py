"""The front against brute force, against pymoo, and by what must hold for every set of points."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dovetail.search import pareto
from dovetail.search.pareto import front

SPECIAL = st.sampled_from([0.0, 1.0, 2.0, 3.0, -1.0, 0.5, 1e308, -1e308, float("nan"), float("inf"), -float("inf")])
POINTS = st.tuples(st.integers(0, 40), st.integers(1, 5)).flatmap(lambda shape: arrays(float, shape, elements=SPECIAL))


def brute_force(costs: np.ndarray) -> list[int]:
    rows = [tuple(row) if np.isfinite(row).all() else None for row in costs]

    def beats(a: int, b: int) -> bool:
        first, second = rows[a], rows[b]
        if first is None or second is None or a == b:
            return False
        return all(x <= y for x, y in zip(first, second)) and (first != second or a < b)

    return [j for j in range(len(rows)) if rows[j] is not None and not any(beats(i, j) for i in range(len(rows)))]


@given(POINTS)
def test_equals_brute_force(costs: np.ndarray) -> None:
    assert front(costs).tolist() == brute_force(costs)


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_deep_recursion_equals_brute_force(objectives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pareto, "_BRUTE", 4)  # split down to pairs
    monkeypatch.setattr(pareto, "_STRONG", 1)
    rng = np.random.default_rng(objectives)
    for _ in range(20):
        costs = rng.integers(0, rng.integers(2, 30), (80, objectives)).astype(float)
        assert front(costs).tolist() == brute_force(costs)


@pytest.mark.parametrize("objectives", [2, 3, 4, 5])
def test_equals_pymoo(objectives: int) -> None:
    sorting: Any = pytest.importorskip("pymoo.util.nds.non_dominated_sorting")
    rng = np.random.default_rng(objectives)
    simplex = rng.dirichlet(np.ones(objectives), 400)  # no point of a simplex dominates another
    for costs in (rng.random((1500, objectives)), np.concatenate((simplex, simplex + 0.01))):
        theirs = sorting.NonDominatedSorting().do(costs, only_non_dominated_front=True)
        assert front(costs).tolist() == sorted(theirs)


@given(POINTS, st.integers(0, 40))
def test_front_of_a_union_is_the_front_of_fronts(costs: np.ndarray, cut: int) -> None:
    first, second = costs[:cut], costs[cut:]
    fronts = np.concatenate((front(first), min(cut, len(costs)) + front(second)))
    assert front(costs).tolist() == fronts[front(costs[fronts])].tolist()


@given(POINTS, st.randoms(use_true_random=False))
def test_order_of_points_changes_no_value(costs: np.ndarray, random: Any) -> None:
    order = list(range(len(costs)))
    random.shuffle(order)
    assert set(map(tuple, costs[front(costs)])) == set(map(tuple, costs[order][front(costs[order])]))


def test_equal_points_keep_the_first() -> None:
    assert front(np.asarray([[2.0, 1, 1], [1, 2, 1], [2, 1, 1], [1, 2, 1]])).tolist() == [0, 1]


def test_nan_and_infinity_are_never_on_the_front() -> None:
    assert front(np.asarray([[np.nan, 0.0], [-np.inf, 0.0], [1.0, 1.0]])).tolist() == [2]
    assert front(np.full((3, 2), np.nan)).tolist() == []


def test_a_large_all_optimal_set_stays_whole() -> None:
    costs = np.random.default_rng(0).dirichlet(np.ones(3), 20_000)
    assert len(front(costs)) == 20_000
