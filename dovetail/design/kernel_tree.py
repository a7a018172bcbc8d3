"""`explain` of an operator that kernel constants price: what its kernel takes, and every constant in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

from dovetail.core.quantity import Quantity, exact
from dovetail.cost import OperatorCost
from dovetail.hardware.machine import Machine

HOW = {
    "gemm": "tiles on the cores and operands from memory, (compute^overlap + memory^overlap)^(1/overlap)",
    "attention": "tiles on the cores and keys from memory, sqrt(compute^2 + memory^2), and new keys appended",
    "mixture": "max(compute, memory) + (1 - overlap) x min(compute, memory) + starts of tiles",
    "latent": "copies + max(compute, memory) + (1 - overlap) x min(compute, memory); expanded: copies + max of both",
}
_UNITS = {"core_bandwidth": "byte/s"}


def facts(cost: OperatorCost, machine: Machine) -> Iterator[tuple[str, Quantity]]:
    """The datasheet numbers that the kernel's time rests on."""
    yield f"{cost.dtype} peak", _fact(machine, f"peak.{cost.dtype}", float(machine.peak_of(cost.dtype)), "flop/s")
    yield "memory bandwidth", _fact(machine, "memory.bandwidth", float(machine.memory.bandwidth), "byte/s")
    if machine.cores:
        yield "cores", _fact(machine, "cores", float(machine.cores), "")


def constants(cost: OperatorCost, machine: Machine) -> Iterator[tuple[str, Quantity]]:
    """The measured constants of the kernel, each with the source of their entry."""
    family, _, entry = cost.model.partition(".")
    known = getattr(machine.kernels, family)[entry]
    source = machine.source(f"kernels.{cost.model}")
    known = getattr(known, "constants", known)
    for field in fields(known):
        value = getattr(known, field.name)
        if isinstance(value, bool | str | tuple) or field.name == "spread" or not math.isfinite(float(value)):
            continue
        unit = "s" if field.name.endswith("_s") else _UNITS.get(field.name, "")
        yield field.name.removesuffix("_s").replace("_", " "), exact(float(value), unit, source.kind, source.text)


def _fact(machine: Machine, path: str, value: float, unit: str) -> Quantity:
    source = machine.source(path)
    return exact(value, unit, source.kind, source.text)
