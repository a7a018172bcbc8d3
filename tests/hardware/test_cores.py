"""Cores and clocks: dense peaks follow from them, other tables count the same, and kernels get them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.hardware import load_machine, machines
from dovetail.hardware.chip_facts import TYPICAL_CLOCK_HZ, TYPICAL_FLOPS_PER_CLOCK, chip_facts
from dovetail.hardware.export import machine_to_yaml

# Dense 16-bit FLOP per clock of one core, by generation: widths of matrix units in vendors' architecture papers.
# GeForce halves the rate of fp32 accumulation. Apple's GPUs have 128 multiply-adds; CPUs count vector or tile units.
FLOPS_PER_CLOCK = {
    512: ("rtx-3090", "rtx-4090", "rtx-5090"),
    1024: ("v100-sxm", "v100-sxm-16gb", "a10", "l4", "l40s", "rtx-pro-6000", "rtx-pro-6000-server", "mi210", "mi250x"),
    2048: ("a100-sxm", "a100-sxm-40gb", "a100-pcie", "a30", "jetson-orin", "mi300x", "mi325x", "arc-b60"),
    4096: ("h100-sxm", "h100-pcie", "h100-nvl", "h200-sxm", "h200-nvl", "gh200", "gh200-96gb", "mi355x"),
    8192: ("b200-sxm", "b300-sxm", "gb200", "gb300", "jetson-thor"),
    256: ("m2-ultra", "m3-max", "m4-max"),
    2 * 256 * 256: ("gaudi2", "gaudi3", "tpu-v4", "tpu-v5e", "tpu-v5p"),  # the TPUs' as four arrays of 128 x 128
    32: ("raspberry-pi-5",),
    64: ("epyc-9654",),
}
WIDTHS = {name: width for width, names in FLOPS_PER_CLOCK.items() for name in names} | {"xeon-8592": 1024}
NO_CORES = {"groq-lpu", "wse-3", "u280", "u55c", "v80"}  # one array, or 900 000 cores that share no tile
NO_CLOCK = {"tpu-v6e", "tpu-v7", "trainium2"}  # none found that gives the peak with the documented units


def test_every_chip_is_covered() -> None:
    assert set(WIDTHS) | NO_CORES | NO_CLOCK == {m.name for m in machines()}
    assert {m.name for m in machines() if not m.cores} == NO_CORES
    assert {m.name for m in machines() if np.isnan(m.clock_hz)} == NO_CORES | NO_CLOCK


@pytest.mark.parametrize("name", WIDTHS)
def test_the_dense_peak_follows_from_cores_and_clock(name: str) -> None:
    machine = load_machine(name)
    peak = machine.peak.get("bf16", machine.peak.get("fp16"))
    assert peak == pytest.approx(machine.cores * machine.clock_hz * WIDTHS[name], rel=0.02)


# fp32 FLOP of the vector units, 256 per clock and core: independent of the matrix units' peaks, which some clocks are
# derived from. GA100, GV100 have half; where matrix work is clocked lower the boost of vector work is in the source.
BOOST = {
    "h100-sxm": 1.98e9, "h200-sxm": 1.98e9, "gh200": 1.98e9, "gh200-96gb": 1.98e9, "h100-pcie": 1.755e9,
    "h100-nvl": 1.785e9, "h200-nvl": 1.785e9, "l40s": 2.52e9,
}  # fmt: skip
AT_THE_CLOCK = (
    "a10", "l4", "rtx-3090", "rtx-4090", "rtx-5090", "rtx-pro-6000", "rtx-pro-6000-server", "jetson-orin",
    "jetson-thor", "arc-b60", "v100-sxm", "v100-sxm-16gb", "a100-sxm", "a100-sxm-40gb", "a100-pcie", "a30",
)  # fmt: skip
HALF = ("v100-sxm", "v100-sxm-16gb", "a100-sxm", "a100-sxm-40gb", "a100-pcie", "a30")


@pytest.mark.parametrize("name", [*BOOST, *AT_THE_CLOCK])
def test_fp32_counts_the_same_cores(name: str) -> None:
    machine = load_machine(name)
    clock, width = BOOST.get(name, machine.clock_hz), 128 if name in HALF else 256
    assert machine.peak["fp32"] == pytest.approx(machine.cores * clock * width, rel=0.02)


# Epoch counts matrix units: eight in an SM of Volta, four since. Rows that count something else are left out: the L4's
# 240 (its fp32 peak is that of 58 SMs, 232 units), the B300's 640 (the full die), Gaudi's (vector cores).
UNITS = {
    "v100-sxm": ("NVIDIA Tesla V100 SXM2 32 GB", 8), "a100-sxm": ("NVIDIA A100 SXM4 80 GB", 4),
    "a100-sxm-40gb": ("NVIDIA A100 SXM4 40 GB", 4), "a10": ("NVIDIA A10 PCIe", 4),
    "rtx-3090": ("NVIDIA GeForce RTX 3090", 4), "rtx-4090": ("NVIDIA GeForce RTX 4090", 4),
    "h100-sxm": ("NVIDIA H100 SXM5 80GB", 4), "tpu-v5e": ("Google TPU v5e", 1), "tpu-v5p": ("Google TPU v5p", 1),
}  # fmt: skip
CLOCKS = {name: row for name, (row, _) in UNITS.items() if "NVIDIA" in row and name != "h100-sxm"} | {
    "l4": "NVIDIA L4", "mi250x": "AMD Radeon Instinct MI250X",
}  # fmt: skip


def test_another_table_counts_the_same(data_folder: Path) -> None:
    path = data_folder / "hardware" / "epoch" / "ml_hardware.csv"
    if not path.is_file():
        pytest.skip(f"no table in {path}")
    with path.open(encoding="utf-8", newline="") as file:
        rows = {row["Hardware name"]: row for row in csv.DictReader(file)}
    for name, (row, each) in UNITS.items():
        assert load_machine(name).cores * each == float(rows[row]["Tensor cores"]), name
    for name, row in CLOCKS.items():
        assert load_machine(name).clock_hz == pytest.approx(1e6 * float(rows[row]["Boost clock (MHz)"])), name


def test_facts_of_a_chip() -> None:
    facts = chip_facts(load_machine("h100-sxm"), "fp8")
    assert (facts.peak, facts.bandwidth) == (1978.9e12, 3.35e12)
    assert (facts.cache, facts.cache_bandwidth) == (50e6, 9.4e12)
    assert (facts.cores, facts.clock) == (132, 1.83e9)
    assert chip_facts(load_machine("8 x mi300x"), "bf16").cache == 256e6  # the last level, not L2
    with pytest.raises(DovetailError, match="no fp8 arithmetic"):
        chip_facts(load_machine("a100-sxm"), "fp8")


def test_facts_that_a_file_leaves_out() -> None:
    """A known chip without them: a typical clock, and cores of 2048 FLOP, one per 3.6864 TFLOP/s of bf16."""
    machine = replace(load_machine("h100-sxm"), cores=0, clock_hz=float("nan"), caches=())
    facts = chip_facts(machine, "fp8")
    assert (facts.cache, facts.cache_bandwidth, facts.clock) == (0.0, 3.35e12, 1.8e9)
    assert facts.cores == 268  # 989.4 / 3.6864 = 268.4, though twice as wide products are asked for
    assert chip_facts(load_machine("u280"), "int8").cores == 7  # 24.5 / 3.6864, of the dtype: there are no 16 bits
    assert chip_facts(replace(machine, peak={"bf16": 1e9}), "bf16").cores == 1
    assert chip_facts(load_machine("tpu-v6e"), "bf16").cores == 1


def test_the_typical_core_is_the_median_of_the_gpus() -> None:
    gpus = [m for m in machines() if m.kind == "gpu"]
    assert np.median([m.clock_hz for m in gpus]) == pytest.approx(TYPICAL_CLOCK_HZ, rel=0.02)
    assert np.median([WIDTHS[m.name] for m in gpus]) == TYPICAL_FLOPS_PER_CLOCK


def test_facts_of_many_design_points() -> None:
    clocks = np.array([1.2e9, np.nan])
    machine = replace(load_machine("h100-sxm"), cores=0, clock_hz=clocks)
    facts = chip_facts(machine, "bf16")
    np.testing.assert_array_equal(facts.clock, [1.2e9, 1.8e9])
    np.testing.assert_array_equal(facts.cores, [403, 268])


def test_what_is_unknown_is_not_written() -> None:
    text = machine_to_yaml(load_machine("u280"))
    assert "cores" not in text
    assert "clock:" not in text
    assert "cores: 132\nclock: 1.83 GHz\n" in machine_to_yaml(load_machine("h100-sxm"))
