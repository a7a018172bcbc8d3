"""What `show` says of how chips are joined: levels of fabric, constants of the libraries, totals of a system."""

from __future__ import annotations

from typing import Any

from dovetail.core.quantity import Kind, exact, weakest
from dovetail.hardware import Level, Machine, Transport
from dovetail.hardware.systems import UNBOUNDED


def levels(machine: Machine) -> dict[str, Any]:
    """The levels by name, innermost first; the network that joins several systems comes last."""
    return {_title(level): _level(machine, i, level) for i, level in enumerate(machine.levels)}


def _title(level: Level) -> str:
    return f"{level.name}, between systems" if level.ways == UNBOUNDED else level.name


def _level(machine: Machine, place: int, level: Level) -> dict[str, Any]:
    between = level.ways == UNBOUNDED
    path = "network" if between else "levels" if place else "link"  # the innermost is the chip's link

    def quantity(name: str, value: Any, unit: str) -> dict[str, Any]:
        source = machine.source(f"{path}.{name}")
        return exact(float(value), unit, source.kind, source.text).to_json()

    found: dict[str, Any] = {} if between else {"ways": level.ways}
    found |= {"topology": level.topology, "bandwidth": quantity("bandwidth", level.bandwidth, "byte/s")}
    if float(level.latency_s):
        found["latency"] = quantity("latency", level.latency_s, "s")
    return found | {"in_network": level.in_network}


def transports(machine: Machine) -> dict[str, Any]:
    """The constants of each algorithm of the libraries, with their source."""
    source = machine.source("fabric")

    def numbers(one: Transport) -> dict[str, Any]:
        given = {"launch": (one.launch_s, "s"), "hop": (one.hop_s, "s"), "reached": (one.reached, "")}
        return {name: exact(float(v), unit, source.kind, source.text).to_json() for name, (v, unit) in given.items()}

    return {one.name: numbers(one) for one in machine.fabric}


def totals(machine: Machine) -> dict[str, Any]:
    """Memory, bf16 peak (or the first there is), power and rent of all chips, and a system's power with its hosts."""
    dtype = "bf16" if "bf16" in machine.peak else next(iter(machine.peak))

    def of_all(path: str, value: Any, unit: str) -> dict[str, Any]:
        kind: Kind = weakest(machine.source(path).kind)
        return exact(machine.count * float(value), unit, kind, f"{machine.count} chips").to_json()

    found = {
        "memory": of_all("memory.capacity", machine.memory.capacity, "byte"),
        "bandwidth": of_all("memory.bandwidth", machine.memory.bandwidth, "byte/s"),
        f"{dtype}_peak": of_all(f"peak.{dtype}", machine.peak[dtype], "flop/s"),
        "power_of_chips": of_all("power.tdp", machine.tdp_w, "W"),
        "rent": of_all("price", machine.usd_per_hour / 3600, "USD/s"),
    }
    units = machine.count // machine.unit
    source = machine.source("system_power")
    if machine.chip:
        found["power_with_hosts"] = exact(units * float(machine.system_w), "W", source.kind, source.text).to_json()
    return found
