"""Resources: four counts, how they are known, and what of them a target lacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dovetail.hardware.target import KINDS


@dataclass(frozen=True, slots=True)
class Resources:
    """Counts of a target's parts.

    Parameters
    ----------
    dsp, lut, ff, bram : int
        Multipliers, look-up tables (gates), flip-flops and blocks of memory; `hardware.target.UNITS` says what.
    source : str
        How they are known.
    """

    dsp: int
    lut: int
    ff: int
    bram: int
    source: str = ""

    def to_json(self) -> dict[str, int]:
        """By name."""
        return {kind: getattr(self, kind) for kind in KINDS}

    def beyond(self, limits: Mapping[str, float]) -> Iterator[str]:
        """Those of which there are too few, the worst first."""
        over = {kind: getattr(self, kind) / limit for kind, limit in limits.items() if getattr(self, kind) > limit}
        return iter(sorted(over, key=lambda kind: -over[kind]))
