"""What one operator of a graph costs on a machine, whichever model priced it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.hardware.machine import Machine


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """One operator kind, all its repetitions: seconds by cause, FLOPs, bytes by level and joules.

    `model` is what priced it: ``roofline``, or the family and entry of the machine's kernel constants
    (``gemm.bf16``), whose causes may overlap. `packed` is the kernel of `Machine.packed` that the roofline counts with.
    """

    name: str
    repeat: int
    dtype: str
    flops: Number
    bytes: Number
    cache_bytes: Number
    compute_s: Number
    memory_s: Number
    link_s: Number
    unpack_s: Number
    launch_s: Number
    time_s: Number
    energy_j: Number
    model: str = "roofline"
    packed: str = ""

    @property
    def bound(self) -> str:
        """What limits a scalar operator: ``compute``, ``memory``, ``link`` or ``launch``."""
        parts = {"compute": self.compute_s, "memory": self.memory_s, "link": self.link_s, "launch": self.launch_s}
        return max(parts, key=lambda p: float(np.max(parts[p])))


def energy_j(time_s: Number, flops: Number, bytes_: Number, dtype: str, machine: Machine, share: float = 0.0) -> Number:
    """Joules of work that takes `time_s`: idle power, FLOPs and bytes of main memory, within the board's limit.

    `share` of the limit is drawn beside these as long as the work lasts.
    """
    dynamic = flops * machine.j_per_flop[dtype] + bytes_ * machine.j_per_byte
    floor_w = machine.idle_w + share * machine.tdp_w if share else machine.idle_w
    return np.minimum(time_s * floor_w + dynamic, time_s * machine.tdp_w)


def spread_of(model: str, machine: Machine) -> float:
    """Half-width of the range of a time, relative: of the kernel constants that priced it, or of the roofline."""
    family, _, entry = model.partition(".")
    if machine.kernels is None or not entry:
        return float(np.max(machine.efficiency.spread))
    known = getattr(machine.kernels, family)[entry]
    return float(getattr(known, "constants", known).spread)
