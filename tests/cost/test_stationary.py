"""Machines whose weights stand in arrays: products by hand, the rest as without, and files that come back."""

from dataclasses import replace

import numpy as np
import pytest

from dovetail.cost import evaluate
from dovetail.cost.memory import memory
from dovetail.cost.stationary import array_share
from dovetail.hardware import load_machine
from dovetail.hardware.build import machine_from_text
from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.machine import Machine
from dovetail.hardware.stationary import Stationary
from dovetail.model import Model
from dovetail.model.operators import Linear

CHIP = load_machine("jetson-orin")
GRAPH = Model.load("Qwen/Qwen3-8B").graph(batch=4, tokens=1, context=1000)
WEIGHTS = sum(o.n * o.k * o.repeat for o in GRAPH.operators if isinstance(o, Linear))


def with_arrays(weights: float) -> Machine:
    return replace(CHIP, stationary=Stationary(weights, 1e-6, 3e-6, 2e-12))


def test_products_take_passes_and_the_rest_is_as_it_was() -> None:
    found, plain = evaluate(GRAPH, with_arrays(WEIGHTS)), evaluate(GRAPH, CHIP)
    for operator, here, there in zip(GRAPH.operators, found.operators, plain.operators, strict=True):
        if isinstance(operator, Linear):
            assert here.time_s == pytest.approx(operator.repeat * (3e-6 + 3 * 1e-6))
            dynamic = 4 * operator.n * operator.k * operator.repeat * 2e-12
            assert here.energy_j == pytest.approx(dynamic + here.time_s * CHIP.idle_w)
            assert here.bytes == 0
        else:
            assert here == there


def test_what_does_not_fit_is_read_from_memory() -> None:
    half = with_arrays(WEIGHTS / 2)
    assert array_share(GRAPH, half) == pytest.approx(0.5)
    whole, none, mixed = (evaluate(GRAPH, m) for m in (with_arrays(2 * WEIGHTS), CHIP, half))
    assert mixed.time_s == pytest.approx((whole.time_s + none.time_s) / 2, rel=0.2)
    for at, a, b in zip(mixed.operators, whole.operators, none.operators, strict=True):
        assert at.time_s == pytest.approx((a.time_s + b.time_s) / 2)
        assert at.energy_j == pytest.approx((a.energy_j + b.energy_j) / 2)


def test_arrays_save_the_room_of_what_they_hold() -> None:
    room = [memory(GRAPH, GRAPH, m).capacity for m in (CHIP, with_arrays(WEIGHTS / 2), with_arrays(9 * WEIGHTS))]
    assert room[1] - room[0] == pytest.approx(WEIGHTS)  # half of the weights, two bytes each
    assert room[2] - room[0] == pytest.approx(2 * WEIGHTS)


def test_more_vectors_are_never_faster_and_arrays_take_arrays_of_points() -> None:
    batches = np.array([1, 2, 8, 64])
    times = evaluate(Model.load("Qwen/Qwen3-8B").graph(batch=batches, context=64), with_arrays(WEIGHTS)).time_s
    assert (np.diff(times) > 0).all()
    alone = evaluate(Model.load("Qwen/Qwen3-8B").graph(batch=8, context=64), with_arrays(WEIGHTS)).time_s
    assert times[2] == pytest.approx(alone)


def test_experts_work_side_by_side() -> None:
    graph = Model.load("Qwen/Qwen3-30B-A3B").graph(batch=1, tokens=1, context=10)
    found = evaluate(graph, with_arrays(1e12))
    experts = [c for o, c in zip(graph.operators, found.operators, strict=True)
               if isinstance(o, Linear) and o.experts > 1]  # fmt: skip
    assert experts
    assert all(c.time_s / c.repeat == pytest.approx(3e-6, rel=0.05) for c in experts)


def test_the_file_gives_the_machine_back() -> None:
    machine = with_arrays(12345678.0)
    sources = {"arrays": CHIP.source("peak")}
    assert machine_from_text(machine_to_yaml(machine, sources), "there").stationary == machine.stationary
