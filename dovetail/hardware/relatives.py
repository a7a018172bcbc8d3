"""The constants of communication of a chip on which nobody measured them: those of its nearest measured relative.

The rule: an NVIDIA chip of a year before `HOPPER` takes those of the A100, every other chip those of the H100, the only
chips with measured tables. vLLM's own kernels exist for NVIDIA and AMD alone, so other makers' chips have the rings
only. All of it is ``modelled``. Bandwidth is the chip's own in any case: constants are shares of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dovetail.hardware.fabric import Transport
from dovetail.hardware.machine import Source
from dovetail.hardware.zoo import zoo_file

HOPPER = 2022
_LIBRARIES = {"NVIDIA": "nccl", "AMD": "rccl"}
_OWN_KERNELS = ("NVIDIA", "AMD")


def fabric_of(file: Mapping[str, Any]) -> tuple[tuple[Transport, ...], dict[str, Source]]:
    """Constants of a chip's file and, where they are another's, their source; none for a chip without a link."""
    if file.get("fabric"):
        return _transports(file["fabric"]), {}
    if not file.get("link"):
        return (), {}
    vendor = file.get("vendor", "")
    name = "a100-sxm" if vendor == "NVIDIA" and (file.get("year") or HOPPER) < HOPPER else "h100-sxm"
    found = _transports(zoo_file("chips", name)["fabric"])
    library = _LIBRARIES.get(vendor, "vendor's")
    kept = tuple(t if t.stack else replace(t, library=library) for t in found if not t.stack or vendor in _OWN_KERNELS)
    known = "the nearest measured" if vendor == "NVIDIA" else f"no chip of {vendor or 'this maker'} is measured"
    return kept, {"fabric": Source("modelled", f"as {name}: {known} (hardware/relatives.py)")}


def _transports(given: tuple[Mapping[str, Any], ...]) -> tuple[Transport, ...]:
    names = {"launch": "launch_s", "hop": "hop_s"}
    return tuple(Transport(**{names.get(k, k): v for k, v in one.items()}) for one in given)
