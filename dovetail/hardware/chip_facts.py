"""What a machine file says of one chip, as models of kernels need it."""

from __future__ import annotations

import numpy as np

from dovetail.hardware.kernels import ChipFacts
from dovetail.hardware.machine import Machine, MemoryLevel

# Medians of the zoo's GPUs, which are 256 to 8192 FLOP per clock and 1.3 to 2.6 GHz.
TYPICAL_FLOPS_PER_CLOCK = 2048  # dense 16-bit products of one core
TYPICAL_CLOCK_HZ = 1.8e9


def chip_facts(machine: Machine, dtype: str) -> ChipFacts:
    """What a kernel's time rests on, of one chip of `machine` for products of `dtype`.

    A machine without caches has one of no bytes at the bandwidth of its main memory. What its file leaves out is
    derived: the clock is `TYPICAL_CLOCK_HZ`, and the cores are as many as make the 16-bit peak (that of `dtype` where
    there is none) of `TYPICAL_FLOPS_PER_CLOCK` each, at least one. Cores of GPUs are up to eight times weaker and four
    times stronger than that, so the split into cores is only a guess then.

    Raises
    ------
    DovetailError
        The machine has no arithmetic of that dtype.
    """
    peak, memory = machine.peak_of(dtype), machine.memory
    cache = machine.caches[0] if machine.caches else MemoryLevel("none", 0.0, memory.bandwidth)
    clock = np.where(np.isnan(machine.clock_hz), TYPICAL_CLOCK_HZ, machine.clock_hz)[()]
    sixteen = machine.peak.get("bf16", machine.peak.get("fp16", peak))
    known = np.any(machine.cores)
    cores = machine.cores if known else np.maximum(1.0, np.round(sixteen / (TYPICAL_FLOPS_PER_CLOCK * clock)))
    return ChipFacts(peak, memory.bandwidth, cache.capacity, cache.bandwidth, cores, clock)
