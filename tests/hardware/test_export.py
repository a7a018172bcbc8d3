"""A machine written as YAML reads back as the same machine: the whole zoo, and machines made of any numbers."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.hardware import Source, load_machine, machines
from dovetail.hardware.build import machine_from_text
from dovetail.hardware.export import machine_to_yaml
from dovetail.hardware.host import host_machine

POSITIVE = st.floats(1e-15, 1e18, allow_nan=False)
BASE = next(m for m in machines() if m.name == "h200-sxm")


@pytest.mark.parametrize("machine", [*machines(), host_machine()], ids=lambda m: m.name)
def test_round_trip(machine):
    assert machine_from_text(machine_to_yaml(machine), machine.name) == machine


@given(POSITIVE, POSITIVE, POSITIVE, POSITIVE, POSITIVE, st.floats(1e-6, 1.0))
def test_round_trip_keeps_every_bit(flops, capacity, bandwidth, watts, seconds, fraction):
    machine = replace(
        BASE,
        peak={"bf16": flops},
        j_per_flop={"bf16": 1 / flops},
        tdp_w=watts,
        idle_w=watts / 3,
        memory=replace(BASE.memory, capacity=capacity, bandwidth=bandwidth),
        stack=replace(BASE.stack, launch_s=seconds),
        efficiency=replace(BASE.efficiency, compute=fraction, memory=fraction),
    )
    sources = {
        path: Source("measured", "timed here") for path in ("peak", "memory", "power", "energy", "stack", "efficiency")
    }
    again = machine_from_text(machine_to_yaml(machine, sources), "mine")
    assert replace(again, sources={}) == replace(machine, sources={})
    assert again.source("stack.launch").text == again.source("memory.capacity").text == "timed here"


@pytest.mark.parametrize("chip", ["h100-sxm", "mi300x", "tpu-v6e", "u280"])
@pytest.mark.parametrize("chunk", [0.0, 2048.0])
def test_round_trip_keeps_what_the_stack_cannot_do(chip, chunk):
    machine = load_machine(chip)
    machine = replace(machine, stack=replace(machine.stack, chunk=chunk))
    again = machine_from_text(machine_to_yaml(machine), "mine")
    assert again.stack == machine.stack
    assert again.source("stack.packed_weights") == machine.source("stack.packed_weights")


def test_new_sources_stand_for_all_below_them():
    """A calibration that says `memory` is measured must not leave an older source on `memory.bandwidth`."""
    machine = replace(BASE, sources=dict(BASE.sources) | {"memory.bandwidth": Source("modelled", "a guess")})
    again = machine_from_text(machine_to_yaml(machine, {"memory": Source("measured", "timed here")}), "mine")
    assert again.source("memory.bandwidth").text == "timed here"
    assert again.source("peak.bf16") == BASE.source("peak.bf16")


def test_a_number_without_a_source_is_not_written():
    with pytest.raises(DovetailError, match="no source"):
        machine_to_yaml(replace(BASE, sources={}))


@pytest.mark.parametrize("value", [math.nan, math.inf, np.array([1e12, 2e12])])
def test_what_a_file_cannot_hold(value):
    with pytest.raises(DovetailError, match=r"memory\.bandwidth"):
        machine_to_yaml(replace(BASE, memory=replace(BASE.memory, bandwidth=value)))
