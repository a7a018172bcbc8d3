"""The closed forms of a pipeline against a simulation of every micro-batch at every stage."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost import GraphCost, OperatorCost
from dovetail.cost.pipeline import along, filling, scaled, steady

IDLE = 20.0
times = st.lists(st.integers(1, 40), min_size=1, max_size=6)


def simulated(work: Sequence[Sequence[int]], rounds: int) -> list[list[list[tuple[int, int]]]]:
    """Event by event: (start, end) of each round, micro-batch and stage. `work`: micro-batches x stages, whole times.

    A micro-batch starts at a stage when it has left the one before (the last one of the round before) and the stage is
    free; a stage serves them in the order of their arrival.
    """
    stages = len(work[0])
    free, left = [0] * stages, [0] * len(work)
    waiting = [(0, 0, batch, 0) for batch in range(len(work))]  # arrival, stage, micro-batch, round
    done: list[list[list[tuple[int, int]]]] = [[[] for _ in work] for _ in range(rounds)]
    while waiting:
        arrived, stage, batch, now = min(waiting)
        waiting.remove((arrived, stage, batch, now))
        begun = max(arrived, free[stage])
        free[stage] = left[batch] = begun + work[batch][stage]
        done[now][batch].append((begun, left[batch]))
        after = (left[batch], stage + 1, batch, now) if stage + 1 < stages else (left[batch], 0, batch, now + 1)
        if after[3] < rounds:
            waiting.append(after)
    return done


def along_path(work: Sequence[int], passes: Sequence[float]) -> float:
    return sum(t * often for t, often in zip(work, passes, strict=True))


@given(times, st.integers(1, 9))
def test_a_pipeline_is_empty_when_the_last_micro_batch_has_left(work: list[int], count: int) -> None:
    done = simulated([work] * count, 1)[0]
    assert along_path(work, filling(work, count)) == max(end for batch in done for _, end in batch)


@given(times, st.data())
def test_a_round_is_the_period_of_what_circulates(work: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(work)))
    done = simulated([work] * count, 80)
    period = (done[-1][0][-1][1] - done[39][0][-1][1]) / 40
    assert along_path(work, steady(work, count)) == period


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(1, 40))
def test_micro_batches_taken_for_as_large_as_the_fullest_are_never_too_fast(work: list[int], requests: int) -> None:
    """Times grow with requests: the simulated period of what is really dealt out lies between floor and ceiling."""
    count = min(len(work), requests)
    sizes = [requests // count + (i < requests % count) for i in range(count)]
    done = simulated([[3 + t * size for t in work] for size in sizes], 80)
    period = (done[-1][0][-1][1] - done[39][0][-1][1]) / 40
    few, many = ([3 + t * size for t in work] for size in (min(sizes), max(sizes)))
    assert along_path(few, steady(few, count)) <= period <= along_path(many, steady(many, count))


def costs(work: Sequence[int], joules: Sequence[float]) -> list[GraphCost]:
    return [GraphCost(float(t), e, 10.0 * t, 100.0 * t) for t, e in zip(work, joules, strict=True)]


@given(times, st.data())
def test_chips_draw_what_they_do_and_idle_the_rest(work: list[int], data: st.DataObject) -> None:
    """Joules of a simulated round, second by second of every stage, against the closed form."""
    count = data.draw(st.integers(1, len(work)))
    watts = data.draw(st.lists(st.integers(20, 300), min_size=len(work), max_size=len(work)))
    stages = costs(work, [float(w * t) for w, t in zip(watts, work, strict=True)])
    found = along(stages, steady(work, count), count, len(work), IDLE)
    done = simulated([work] * count, 80)
    first, last = done[39][0][-1][1], done[-1][0][-1][1]
    busy = [
        sum(max(0, min(e, last) - max(b, first)) for now in done for batch in now for b, e in [batch[stage]])
        for stage in range(len(work))
    ]
    spent = sum(w * b + IDLE * (last - first - b) for w, b in zip(watts, busy, strict=True)) / 40
    assert found.energy_j * len(work) == pytest.approx(spent, rel=0.05)  # rounds do not begin together at all stages
    assert found.time_s == (last - first) / 40
    assert found.bytes * len(work) == pytest.approx(100.0 * sum(work) * count)


def test_arrays_are_points_together() -> None:
    work = [np.array([3.0, 5.0, 2.0]), np.array([4.0, 1.0, 2.0])]
    for count in (1, 2):
        for form in (filling, steady):
            together = form(work, np.full(3, count))
            for i in range(3):
                assert [float(w[i]) for w in together] == form([float(w[i]) for w in work], count)


def test_the_operators_of_a_critical_path_add_up_to_its_time() -> None:
    def one(t: float) -> OperatorCost:
        return OperatorCost("o", 4, "bf16", 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, t, 9.0)

    stages = [GraphCost(t + 1.0, 1.0, 1.0, 1.0, (one(t),)) for t in (2.0, 5.0, 3.0)]
    for passes in (filling([3.0, 6.0, 4.0], 4), steady([3.0, 6.0, 4.0], 3)):
        found = along(stages, passes, 3, 3, IDLE)
        assert sum(o.time_s for o in found.operators) + found.passes == found.time_s
    assert steady([3.0, 6.0, 4.0], 3) == [0.0, 3.0, 0.0]
    assert scaled(one(2.0), 2.5).repeat == 10
    assert scaled(one(2.0), 2.5).link_s == 15.0
