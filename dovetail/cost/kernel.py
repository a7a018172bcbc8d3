"""What a model of a fused GPU kernel gives back."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class KernelTime:
    """Seconds of one call by cause, and bytes of main memory; `time_s` is less than the sum where causes overlap."""

    time_s: Number
    compute_s: Number
    memory_s: Number
    launch_s: Number
    bytes: Number

    def __add__(self, after: KernelTime) -> KernelTime:
        """This call, and then another."""
        return KernelTime(*(getattr(self, name) + getattr(after, name) for name in KernelTime.__slots__))
