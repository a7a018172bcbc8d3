"""Energy of a chip that nobody has measured, derived from its power limit, peaks and memory: one place, one rule.

The rule is anchored on the one chip with measured board power, an H200 SXM (GEMM kernels, aiconfigurator dataset,
commit 095f58a; the least mean |relative error| on the 5 % of matrices that `bench/gemm.py` fits on, and how far off it
is on the others by `bench/accuracy.py`): `H200_IDLE_W`, `H200_J_PER_FLOP` (bf16) and `H200_J_PER_BYTE`. Everything made
here is `modelled`. At full peak the sum exceeds the power limit, as it does on the chip, which lowers its clock:
whoever adds the parts caps them at ``tdp_w`` times the time.
"""

from __future__ import annotations

from collections.abc import Mapping

H200_TDP_W = 700.0
H200_PEAK_BF16 = 989.4e12
H200_IDLE_W = 139.0
H200_J_PER_FLOP = 0.761e-12
H200_J_PER_BYTE = 44.2e-12

IDLE_SHARE = H200_IDLE_W / H200_TDP_W
COMPUTE_SHARE = H200_J_PER_FLOP * H200_PEAK_BF16 / H200_TDP_W
ENERGY_SOURCE = "derived from an H200's measured power (hardware/energy.py)"

# Of the limit, what a board draws beyond its idle power and the counted work while an attention kernel runs: softmax,
# and keys and queries that move between the cores and the cache. Least mean |log error| on the H200's attention calls
# of the shapes that `bench/attention.py` fits on; `bench/ranges.py` prints the fit.
ATTENTION_SHARE = 0.175

# Energy of one bit moved between DRAM and processor, device and interface.
PJ_PER_BIT: dict[str, tuple[float, str]] = {
    "HBM": (3.92, "O'Connor et al., Fine-Grained DRAM, MICRO 2017: HBM2 3.92 pJ/bit"),
    "GDDR6": (7.5, "Micron, GDDR6X technical brief, 2020: GDDR6 7.5 pJ/bit, GDDR6X 7.25 pJ/bit"),
    "GDDR6X": (7.25, "Micron, GDDR6X technical brief, 2020: GDDR6 7.5 pJ/bit, GDDR6X 7.25 pJ/bit"),
    "LPDDR": (20.0, "Horowitz, ISSCC 2014: DRAM access 1.3 nJ per 64 bits, lower end"),
    "DDR": (20.0, "Horowitz, ISSCC 2014: DRAM access 1.3 nJ per 64 bits, lower end"),
}
# What a byte costs beyond its DRAM (caches, crossbars, registers): the H200's fit over HBM's figure.
ON_CHIP_FACTOR = H200_J_PER_BYTE / (PJ_PER_BIT["HBM"][0] * 8e-12)


def idle_w(tdp_w: float) -> float:
    """Board power when no operator runs: the H200's share of its limit."""
    return IDLE_SHARE * tdp_w


def j_per_flop(tdp_w: float, peak: Mapping[str, float]) -> dict[str, float]:
    """Dynamic energy per FLOP by dtype: at its peak, arithmetic draws the share of the limit it draws on an H200.

    So energy falls with the peak's rise from dtype to dtype, and from chip to chip with peak per watt.
    """
    return {dtype: COMPUTE_SHARE * tdp_w / flops for dtype, flops in peak.items()}


def memory_technology(name: str) -> str:
    """The row of `PJ_PER_BIT` for a memory's name (``HBM3e`` is ``HBM``); DDR, the dearest, for one unknown."""
    known = sorted(PJ_PER_BIT, key=len, reverse=True)
    return next((row for row in known if name.upper().startswith(row)), "DDR")


def j_per_byte(memory: str) -> float:
    """Dynamic energy per byte of main memory traffic, on-chip path included."""
    return PJ_PER_BIT[memory_technology(memory)][0] * 8e-12 * ON_CHIP_FACTOR


def j_per_byte_source(memory: str) -> str:
    """Source text of `j_per_byte`."""
    return f"{PJ_PER_BIT[memory_technology(memory)][1]}, times {ON_CHIP_FACTOR:.2f} on-chip (H200 fit)"
