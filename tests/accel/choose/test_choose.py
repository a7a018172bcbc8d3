"""Choosing an array: the fastest that fits, by an exhaustive look; budgets; ports; what each instruction does."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dovetail.accel.choose.budget import parse_budget
from dovetail.accel.choose.candidates import candidate, shapes
from dovetail.accel.choose.choose import choose
from dovetail.accel.choose.port import memory_of, port_of
from dovetail.accel.choose.work import works
from dovetail.accel.golden.program import Product
from dovetail.core.errors import DovetailError
from dovetail.hardware.target import load_target, target_names
from tests.accel.simulate.models import small

ECP5 = load_target("ecp5-85")


def test_every_target_loads() -> None:
    assert target_names() == ["asic", "ecp5-85", "u280"]
    for name in target_names():
        found = load_target(name)
        assert found.clock_hz > 1e6
        assert found.bandwidth > 1e8
        assert min(found.resources.values()) > 0


def test_a_budget_narrows_the_target() -> None:
    found = parse_budget("dsp<=100, bram<50,bw=1GB/s,clock=50MHz", ECP5)
    assert found.limits == {**ECP5.resources, "dsp": 100, "bram": 49}
    assert (found.bandwidth, found.clock_hz) == (1e9, 50e6)
    assert parse_budget("", ECP5).limits == dict(ECP5.resources)


def test_the_chosen_is_the_fastest_that_fits() -> None:
    model, budget = small("llama"), parse_budget("dsp<=120,bram<=60,bw=0.4GB/s", ECP5)
    chosen = choose(model, ECP5, budget)
    assert not list(chosen.resources.beyond(budget.limits))
    for shape in shapes(model):
        if shape.macs > 512:
            continue
        other = candidate(model, shape, ECP5.family, budget.bandwidth, budget.clock_hz, ECP5.latency_s)
        if other is not None and not list(other.resources.beyond(budget.limits)):
            assert chosen.request_cycles(model.context) <= 1.011 * other.request_cycles(model.context)


def test_more_bandwidth_and_more_resources_are_never_slower() -> None:
    model, times = small("llama"), []
    for text in ("dsp<=125,bw=0.2GB/s", "dsp<=125,bw=1GB/s", "dsp<=156,bw=1GB/s"):
        times.append(choose(model, ECP5, parse_budget(text, ECP5)).request_cycles(model.context))
    assert times[0] * 1.01 >= times[1]
    assert times[1] * 1.01 >= times[2]


def test_a_budget_that_nothing_meets_names_what_does() -> None:
    model = small("llama")
    with pytest.raises(DovetailError, match="dsp binds") as error:
        choose(model, ECP5, parse_budget("dsp<=20", ECP5))
    assert not list(choose(model, ECP5, parse_budget(error.value.hint, ECP5)).resources.beyond(ECP5.resources))


@pytest.mark.parametrize(("bandwidth", "clock", "word"), [(1e9, 80e6, 16), (460e9, 200e6, 64), (10e9, 300e6, 256)])
def test_a_port_moves_what_memory_has(bandwidth: float, clock: float, word: int) -> None:
    memory = memory_of(bandwidth, clock, 1e-7, word)
    assert memory.bytes / memory.cycles == pytest.approx(min(bandwidth / clock, word), rel=1e-3)
    assert port_of(memory, word).interval == pytest.approx(max(1, word * clock / bandwidth), rel=1e-3)
    assert memory.latency == round(1e-7 * clock)


def test_what_instructions_do_adds_up() -> None:
    """Products are those of the matrices, padding aside; engines do one thing after another; bytes are the port's."""
    model = small("llama")
    made = candidate(model, next(shapes(model)), "ecp5", 1e9, 80e6, 1e-7)
    assert made is not None
    program = made.program
    found, each = works(program, 10, 4, port_of(made.memory, program.shape.word), chooses=True)
    for engine in ("matrix", "vector"):
        bars = [work for work in each if work.engine == engine]
        assert all(a.end <= b.begin + 1e-9 and b.begin <= b.end for a, b in pairwise(bars))
    by_name = {work.name: work for work in each if work.kind == "product"}
    for step in (step for step in model.steps if isinstance(step, Product)):
        rows = 1 if step is model.steps[-1] else 4
        exact = rows * step.matrix.values.size
        assert exact <= by_name[step.name].products <= 2 * exact
    assert sum(work.bytes for work in each) == pytest.approx(found.words * program.shape.word, rel=0.2)
