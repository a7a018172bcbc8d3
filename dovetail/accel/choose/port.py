"""The memory port of a design: its bandwidth and latency in cycles, for the cycle model and for the simulator."""

from __future__ import annotations

from fractions import Fraction

from dovetail.accel.cycles.ring import Port
from dovetail.accel.simulate.verilator import Memory


def memory_of(bandwidth: float, clock_hz: float, latency_s: float, word: int) -> Memory:
    """Bytes per cycle as a ratio of small numbers, no more than a word in a cycle."""
    each = min(Fraction(bandwidth / clock_hz).limit_denominator(1000), Fraction(word))
    return Memory(max(1, round(latency_s * clock_hz)), each.numerator, each.denominator)


def port_of(memory: Memory, word: int) -> Port:
    """The same for the cycle model."""
    return Port(memory.latency, max(1.0, word * memory.cycles / memory.bytes))
