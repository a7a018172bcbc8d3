"""The zoo as rows for a table: one dict per machine, numbers in SI, NaN where a number is unknown."""

from __future__ import annotations

from typing import Any

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.load import machines, systems
from dovetail.hardware.machine import Machine

SYSTEM = "system"  # the kind of what is made of chips
COLUMNS = ("name", "memory", "bandwidth", "bf16", "tdp", "usd_per_hour", "kind")


def row(machine: Machine) -> dict[str, Any]:
    """Name, memory (bytes), bandwidth (bytes/s), bf16 peak (FLOP/s; NaN without), TDP (W), USD per hour, kind.

    All chips of a system together; its kind is ``system``.
    """
    found = {
        "memory": machine.memory.capacity, "bandwidth": machine.memory.bandwidth,
        "bf16": machine.peak.get("bf16", float("nan")), "tdp": machine.tdp_w, "usd_per_hour": machine.usd_per_hour,
    }  # fmt: skip
    if machine.chip:
        found = {name: machine.unit * value for name, value in found.items()}
    return {"name": machine.name, **found, "kind": SYSTEM if machine.chip else machine.kind}


def summary(vendor: str = "", min_memory: str | float = 0, kind: str = "") -> list[dict[str, Any]]:
    """Rows of the zoo's machines, in name order.

    Parameters
    ----------
    vendor : str
        Keep one maker's machines (case ignored); all when empty.
    min_memory : str or float
        Keep machines with at least this memory, as text (``"80 GB"``) or bytes.
    kind : str
        Keep chips of a kind; ``system`` for systems; all chips when empty.

    Raises
    ------
    DovetailError
        `min_memory` is not a size, or no machine is of the vendor or kind.
    """
    least = units.parse(min_memory, "byte", where="min memory") if isinstance(min_memory, str) else min_memory
    _known("vendor", vendor, {m.vendor for m in machines()})
    _known("kind", kind, {m.kind for m in machines()} | {SYSTEM})
    found = systems() if kind.lower() == SYSTEM else machines()
    rows = (row(m) for m in found if vendor.lower() in ("", m.vendor.lower()))
    return [r for r in rows if kind.lower() in ("", r["kind"]) and r["memory"] >= least]


def _known(what: str, given: str, names: set[str]) -> None:
    if given and given.lower() not in {name.lower() for name in names}:
        raise DovetailError(f"no machine of the zoo has {what} '{given}'", hint=did_you_mean(given, sorted(names)))
