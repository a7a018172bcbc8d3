"""What may be asked, and the arithmetic of a request's tokens against counting them one by one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.workload import Lengths, Workload

FIELDS = ("prompt", "output", "batch")
BAD = [0, -3, 1.5, float("nan"), float("inf"), 2e9, "8", "many", None, True, 1j, [], [4, 0], [[1], [2, 3]], [1, None]]


@pytest.mark.parametrize("value", BAD, ids=repr)
@pytest.mark.parametrize("name", FIELDS)
def test_what_is_not_a_whole_number_in_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(DovetailError, match=f"{name} must be") as error:
        Workload(**{name: value})
    assert error.value.where == name


@pytest.mark.parametrize(
    "value", [1, 7.0, 10**9, np.int32(5), np.array([1, 2]), [3, 4], (5, 6), np.ones((2, 1), np.uint8)]
)
@pytest.mark.parametrize("name", FIELDS)
def test_whole_numbers_and_arrays_of_them_are_taken(name: str, value: Any) -> None:
    kept = getattr(Workload(**{name: value}), name)
    np.testing.assert_array_equal(kept, np.asarray(value))
    assert isinstance(kept, int | float) or kept.dtype in (np.int64, np.float64)


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    with pytest.raises(DovetailError, match="do not broadcast"):
        Workload(prompt=[1, 2], batch=[1, 2, 3])
    assert {c.shape for c in Workload(prompt=[[1], [2]], batch=[1, 2, 3]).columns().values()} == {(2, 3)}


def test_narrow_integers_do_not_overflow() -> None:
    work = Workload(prompt=np.array([100, 120], np.int8), output=np.array([100, 120], np.int8))
    assert list(work.total_tokens) == [200, 240]


def simulated(prompt: int, output: int) -> tuple[int, list[int]]:
    """Tokens cached at the end, and those that each decode step found cached, by generating token after token."""
    cached, made, found = prompt, 1, []  # the prefill makes the first token
    while made < output:
        found.append(cached)
        cached, made = cached + 1, made + 1
    return cached, found


@given(st.integers(1, 300), st.integers(1, 300))
def test_tokens_of_a_request_as_generating_them_one_by_one(prompt: int, output: int) -> None:
    work = Workload(prompt=prompt, output=output)
    cached, found = simulated(prompt, output)
    assert work.decode_steps == len(found)
    assert work.cached_tokens == cached
    assert work.total_tokens == prompt + output
    assert work.mean_context == (pytest.approx(np.mean(found)) if found else prompt)


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 99)), min_size=1, max_size=5))
def test_arrays_of_requests_are_requests(pairs: list[tuple[int, int]]) -> None:
    prompt, output = (np.array(column) for column in zip(*pairs))
    together = Workload(prompt=prompt, output=output)
    for i, pair in enumerate(pairs):
        alone = Workload(prompt=pair[0], output=pair[1])
        assert together.mean_context[i] == alone.mean_context
        assert together.cached_tokens[i] == alone.cached_tokens


def test_a_spread_holds_every_pair_of_lengths() -> None:
    prompt, output = Lengths(np.array([10.0, 20.0, 30.0])), Lengths(np.array([0.0, 5.0]))
    work = Workload.spread(prompt, output, batch=4)
    pairs = list(zip(work.prompt, work.output))
    assert pairs == [(p, o) for p in (10, 20, 30) for o in (1, 5)]
    assert {c.shape for c in work.columns().values()} == {(6,)}
    assert np.mean(work.prompt) == prompt.mean


def test_a_spread_of_a_trace_with_empty_prompts_is_a_workload() -> None:
    work = Workload.spread(Lengths.observed([0, 0, 3]), Lengths.lognormal(40, 1.0))
    assert work.prompt.min() == 1
    assert work.prompt.shape == (256,)


def test_equal_workloads_are_equal_by_content() -> None:
    assert Workload(prompt=np.array([1, 2])) == Workload(prompt=[1, 2])
    assert hash(Workload.chat(64)) == hash(Workload(prompt=64, output=256))
    assert Workload(batch=2) != Workload(batch=3)
