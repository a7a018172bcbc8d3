"""The datasheet numbers of a chip that the time of a kernel rests on."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class ChipFacts(ByContent):
    """The datasheet numbers that a kernel's time rests on.

    Parameters
    ----------
    peak : Number
        Dense FLOP/s of the matrix units for the dtype that is multiplied.
    bandwidth : Number
        Bytes/s of main memory.
    cache, cache_bandwidth : Number
        Bytes and bytes/s of the last-level cache.
    cores : Number
        Streaming multiprocessors, compute units: what runs one tile at a time.
    clock : Number
        Hz of the cores, boosted.
    """

    peak: Number
    bandwidth: Number
    cache: Number
    cache_bandwidth: Number
    cores: Number
    clock: Number
