"""The one rule for chips without measured power: anchored on the H200, and sensible away from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.hardware import energy, load_machine


def test_the_rule_gives_the_anchor_back():
    h200 = load_machine("h200-sxm")
    assert energy.idle_w(h200.tdp_w) == pytest.approx(h200.idle_w)
    assert energy.j_per_flop(h200.tdp_w, h200.peak)["bf16"] == pytest.approx(h200.j_per_flop["bf16"])
    assert energy.j_per_byte(h200.memory.name) == pytest.approx(h200.j_per_byte)
    assert h200.source("energy.per_flop.bf16").kind == "calibrated"
    assert h200.source("energy.per_flop.fp8").kind == "modelled"
    assert load_machine("h100-sxm").source("energy.per_flop.bf16").kind == "modelled"


@given(st.floats(10, 2000), st.floats(1e12, 1e16), st.floats(1.1, 10))
def test_energy_follows_power_and_peak(tdp_w, flops, factor):
    base = energy.j_per_flop(tdp_w, {"bf16": flops, "fp8": 2 * flops})
    assert base["fp8"] == pytest.approx(base["bf16"] / 2)
    assert energy.j_per_flop(factor * tdp_w, {"bf16": flops})["bf16"] == pytest.approx(factor * base["bf16"])
    assert energy.j_per_flop(tdp_w, {"bf16": factor * flops})["bf16"] == pytest.approx(base["bf16"] / factor)


@pytest.mark.parametrize(
    ("name", "technology"),
    [
        ("HBM2e", "HBM"),
        ("HBM3", "HBM"),
        ("GDDR6X", "GDDR6X"),
        ("GDDR6", "GDDR6"),
        ("LPDDR5", "LPDDR"),
        ("DDR5", "DDR"),
        ("memory", "DDR"),
    ],
)
def test_memory_technologies(name, technology):
    assert energy.memory_technology(name) == technology
    assert str(energy.PJ_PER_BIT[technology][0]) in energy.j_per_byte_source(name) or technology in ("DDR", "LPDDR")


def test_stacked_memory_is_cheapest_per_byte():
    assert (
        energy.j_per_byte("HBM3") < energy.j_per_byte("GDDR6X") < energy.j_per_byte("GDDR6") < energy.j_per_byte("DDR4")
    )
    assert 20e-12 < energy.j_per_byte("HBM3") < 80e-12
