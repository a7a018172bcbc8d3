"""The zoo as rows for a table: one dict per machine, numbers in SI, NaN where a number is unknown."""

from __future__ import annotations

from typing import Any

from dovetail.core import units
from dovetail.hardware.load import machines
from dovetail.hardware.machine import Machine

COLUMNS = ("name", "memory", "bandwidth", "bf16", "tdp", "usd_per_hour", "kind")


def row(machine: Machine) -> dict[str, Any]:
    """Name, memory (bytes), bandwidth (bytes/s), bf16 peak (FLOP/s; NaN without), TDP (W), USD per hour, kind."""
    return {
        "name": machine.name, "memory": machine.memory.capacity, "bandwidth": machine.memory.bandwidth,
        "bf16": machine.peak.get("bf16", float("nan")), "tdp": machine.tdp_w,
        "usd_per_hour": machine.usd_per_hour, "kind": machine.kind,
    }  # fmt: skip


def summary(vendor: str = "", min_memory: str | float = 0) -> list[dict[str, Any]]:
    """Rows of the zoo's machines, in name order.

    Parameters
    ----------
    vendor : str
        Keep one maker's machines (case ignored); all when empty.
    min_memory : str or float
        Keep machines with at least this memory, as text (``"80 GB"``) or bytes.

    Raises
    ------
    DovetailError
        `min_memory` is not a size.
    """
    least = units.parse(min_memory, "byte", where="min memory") if isinstance(min_memory, str) else min_memory
    kept = (m for m in machines() if vendor.lower() in ("", m.vendor.lower()))
    return [row(machine) for machine in kept if machine.memory.capacity >= least]
