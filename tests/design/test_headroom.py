"""What `headroom` says fits really does, one more does not, and what it proposes holds when it is tried."""

import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.design import Plan, estimate
from dovetail.design.feasibility import largest
from dovetail.design.headroom import headroom
from dovetail.hardware import Machine
from dovetail.model import Model
from dovetail.workload import Workload


@given(st.integers(0, 200), st.integers(1, 150))
def test_largest_is_the_last_that_fits(bound: int, most: int) -> None:
    assert largest(lambda n: n <= bound, most) == min(bound, most)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 900), st.integers(1, 100), st.integers(1, 40), st.floats(3e5, 2e7))
def test_the_batch_and_context_named_fit_and_one_more_does_not(
    toy: Machine, llama: Model, prompt: int, output: int, batch: int, capacity: float
) -> None:
    machine = replace(toy, memory=replace(toy.memory, capacity=capacity))
    room = headroom(estimate(llama, machine, Workload(prompt, output, batch)))

    def fits(prompt: int, batch: int) -> bool:
        return bool(estimate(llama, machine, Workload(prompt, output, batch)).metrics.memory.fits)

    assert room.batch == 0 or fits(prompt, room.batch)
    assert not fits(prompt, room.batch + 1)
    if room.context:
        assert fits(room.context - output, batch)
    if room.context < room.limit:
        assert not fits(max(room.context - output, 0) + 1, batch)


def test_what_fits_needs_no_change(toy: Machine, llama: Model) -> None:
    assert headroom(estimate(llama, toy, Workload(prompt=16, output=4))).changes == ()


@pytest.mark.parametrize("name", ["h100-sxm", "l40s"])
def test_every_change_that_is_said_to_fit_does(name: str) -> None:
    work = Workload(prompt=4000, output=1000, batch=64)
    found = estimate("meta-llama/Llama-3.1-70B", name, work)
    changes = headroom(found).changes
    assert changes
    for change in changes:
        if asked := re.fullmatch(r"--on '(\d+ x [\w-]+)' fits", change):
            assert bool(estimate("meta-llama/Llama-3.1-70B", asked[1], work).metrics.memory.fits)
        elif asked := re.fullmatch(r"--recipe (\S+) saves .* and (fits|still does not fit)", change):
            held = estimate("meta-llama/Llama-3.1-70B", name, work, asked[1]).metrics.memory
            assert bool(held.fits) is (asked[2] == "fits")
        else:
            assert re.fullmatch(r"--(batch|prompt) \d+ fits.*", change)


def test_a_plan_of_replicas_counts_all_of_them(toy: Machine, llama: Model) -> None:
    work = Workload(prompt=100, output=10, batch=4)
    one = headroom(estimate(llama, toy, work))
    two = headroom(estimate(llama, replace(toy, count=2), work, plan=Plan(tp=1)))
    assert two.batch == 2 * one.batch
