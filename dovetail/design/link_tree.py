"""The tree of a collective's time: which algorithm, over which levels of fabric, from which constants."""

from __future__ import annotations

from dovetail.core.formats import DTYPE_BYTES
from dovetail.core.quantity import Quantity, exact
from dovetail.cost.collectives import fastest, phases
from dovetail.cost.traffic import compute_dtype
from dovetail.hardware.fabric import Level
from dovetail.hardware.machine import Machine
from dovetail.hardware.systems import UNBOUNDED
from dovetail.model.operators import Collective

Parts = list[tuple[str, Quantity]]


def link_parts(operator: Collective, machine: Machine) -> tuple[str, Parts]:
    """The formula of one call, and the quantities in it with their sources."""
    size = float(operator.elements) * DTYPE_BYTES[compute_dtype(operator.act, machine)]
    best = fastest(operator.kind, size, operator.ways, machine)
    parts: Parts = [("message", exact(size, "byte", "modelled", "shapes of the graph"))]
    for phase in phases(operator.kind, size, operator.ways, machine, best.algorithm):
        parts += _level(phase.level, float(phase.bandwidth), machine)
    if not machine.fabric:
        return f"{_who(operator)}: bytes sent / link", parts
    constants = {"launch": (best.launch_s, "s"), "hop": (best.hop_s, "s"), "reached share": (best.reached, "")}
    source = machine.source("fabric")
    for name, (value, unit) in constants.items():
        parts.append((f"{best.name}: {name}", exact(float(value), unit, source.kind, source.text)))
    formula = "latency + transfer + filling, less an operator's launch"
    return f"{_who(operator)} by {best.name}: {formula}", parts


def _who(operator: Collective) -> str:
    return "from one chip to the next" if operator.kind == "p2p" else f"{operator.kind} among {operator.ways}"


def _level(level: Level, bandwidth: float, machine: Machine) -> Parts:
    """Bandwidth and latency of a level; the innermost is the chip's link."""
    inner = not machine.levels or level.name == machine.levels[0].name
    path = "link" if inner else "network" if level.ways == UNBOUNDED else "levels"
    source, late = machine.source(path), machine.source("levels.latency" if inner else f"{path}.latency")
    parts: Parts = [(f"{level.name}: bandwidth", exact(bandwidth, "byte/s", source.kind, source.text))]
    if float(level.latency_s):
        parts.append((f"{level.name}: latency", exact(float(level.latency_s), "s", late.kind, late.text)))
    return parts
