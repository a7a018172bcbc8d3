"""What an accelerator is made on: the resources of an FPGA, or those one allows a chip, with memory and clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.machine import Source
from dovetail.hardware.yamlfile import parse_yaml
from dovetail.hardware.zoo import sources_of, zoo_files

KINDS = ("dsp", "lut", "ff", "bram")
UNITS = {
    "ecp5": {"dsp": "MULT18X18D", "lut": "LUT4", "ff": "flip-flops", "bram": "blocks of 18 kbit"},
    "xcup": {"dsp": "DSP48E2", "lut": "LUT6", "ff": "flip-flops", "bram": "blocks of 36 kbit"},
    "asic": {"dsp": "multipliers", "lut": "gates", "ff": "flip-flops", "bram": "SRAM macros of 16 kbit"},
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where RTL may go.

    Parameters
    ----------
    name, title : str
    kind : str
        ``fpga`` or ``asic``.
    family : str
        ``ecp5``, ``xcup`` (UltraScale+) or ``asic``: how resources are counted.
    resources : mapping of str to int
        ``dsp``, ``lut``, ``ff``, ``bram``: what there is; `UNITS` says what one is.
    bram_bits : int
        Of one block of memory.
    clock_hz : float
        Assumed for designs.
    latency_s : float
        From a request to memory to its response.
    capacity, bandwidth : float
        Of memory: bytes, bytes/s.
    memory : str
        Its technology.
    tdp_w : float
    sources : mapping of str to Source
        By field.
    """

    name: str
    title: str
    kind: str
    family: str
    resources: Mapping[str, int]
    bram_bits: int
    clock_hz: float
    latency_s: float
    capacity: float
    bandwidth: float
    memory: str
    tdp_w: float
    sources: Mapping[str, Source] = field(default_factory=dict)


def target_names() -> list[str]:
    """Targets that ship."""
    return sorted(zoo_files("targets"))


@cache
def load_target(name: str) -> Target:
    """A target by name. Raises `DovetailError` for an unknown one."""
    files = zoo_files("targets")
    if name not in files:
        hint = did_you_mean(name, list(files))
        raise DovetailError(f"unknown target '{name}'", where="target", hint=hint)
    return _target(name, parse_yaml(files[name].read_text(encoding="utf-8"), f"{name}.yaml"))


_SOURCED = ("resources", "bram_bits", "clock", "latency", "memory", "power")


def _target(name: str, file: Mapping[str, Any]) -> Target:
    memory, sources = file["memory"], sources_of(file["source"])
    unsourced = [part for part in _SOURCED if part not in sources]
    if unsourced or set(file["resources"]) != set(KINDS) or file["family"] not in UNITS:
        why = f"{unsourced[0]} has no source" if unsourced else "resources or family"
        raise DovetailError("this target does not load", where=f"{name}.yaml", why=why, hint="compare with u280.yaml")
    return Target(
        name=name, title=file["title"], kind=file["kind"], family=file["family"],
        resources={kind: int(file["resources"][kind]) for kind in KINDS}, bram_bits=int(file["bram_bits"]),
        clock_hz=units.parse(file["clock"], "Hz"), latency_s=units.parse(file["latency"], "s"),
        capacity=units.parse(memory["capacity"], "byte"), bandwidth=units.parse(memory["bandwidth"], "byte/s"),
        memory=memory["type"], tdp_w=units.parse(file["power"]["tdp"], "W"), sources=sources,
    )  # fmt: skip
