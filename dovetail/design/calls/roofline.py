"""Machines without kernel constants: their roofline's efficiencies and launch, fitted to measured products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, Self

import numpy as np

from dovetail.cost.products import matmul
from dovetail.design.calls.products import Flags, Products
from dovetail.design.calls.table import Array
from dovetail.hardware.kernels import ChipFacts
from dovetail.hardware.machine import Machine

LIMITS = dict.fromkeys(("compute", "memory", "overlap"), (0.0, 1.0))
# Weights and activations of a dtype, as `dovetail.cost.matmul` calls them.
_OPERANDS: Mapping[str, tuple[str, str]] = {
    "w8a16": ("int8", "bf16"), "w4a16": ("int4", "bf16"), "fp8_block": ("fp8_block", "fp8"), "tf32": ("fp32", "tf32"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class RooflineConstants:
    """What a roofline is lowered by: see `Efficiency` and `Stack` of `dovetail.hardware.machine`."""

    compute: float
    memory: float
    overlap: float
    launch_s: float
    spread: float = 0.4

    @classmethod
    def of(cls, machine: Machine) -> Self:
        """Those of a machine."""
        e = machine.efficiency
        return cls(float(e.compute), float(e.memory), float(e.overlap), float(machine.stack.launch_s), e.spread)

    def on(self, machine: Machine) -> Machine:
        """A machine with these."""
        shares = {name: getattr(self, name) for name in ("compute", "memory", "overlap", "spread")}
        efficiency = replace(machine.efficiency, **shares)
        return replace(machine, efficiency=efficiency, stack=replace(machine.stack, launch_s=self.launch_s))


class Priced(NamedTuple):
    """Seconds of calls, and bytes that main memory moves."""

    time_s: Array
    bytes: Array


@dataclass(frozen=True, slots=True, eq=False)
class RooflineProducts:
    """Measured products of one dtype on a machine that a roofline prices."""

    products: Products
    machine: Machine
    entry: str

    def of(self, keep: Flags) -> Self:
        """Some of the calls."""
        return replace(self, products=self.products.of(keep))

    @property
    def time_s(self) -> Array:
        """Measured seconds, shape (calls,)."""
        return self.products.time_s

    @property
    def power_w(self) -> Array:
        """Measured watts, NaN where not measured."""
        return self.products.power_w

    @property
    def rows(self) -> np.ndarray:
        """Where each call stands in the table."""
        return self.products.rows

    @property
    def chip(self) -> ChipFacts:
        """The machine's numbers, with the peak of the dtype."""
        return self.products.chip

    @property
    def shapes(self) -> list[str]:
        """``n,k`` of each call."""
        return self.products.shapes

    @property
    def flops(self) -> Array:
        """Operations of each call."""
        return self.products.flops

    @property
    def bytes(self) -> Array:
        """Bytes of operands and results of each call, each once."""
        return self.products.bytes

    def cost(self, constants: RooflineConstants) -> Priced:
        """What an estimate on the machine says of these calls."""
        weight, act = _OPERANDS.get(self.entry, (self.entry, self.entry))
        p = self.products
        found = matmul(p.m, p.n, p.k, machine=constants.on(self.machine), weight=weight, act=act)
        return Priced(np.asarray(found.time_s), p.bytes)

    def describe(self, index: int) -> str:
        """One call, for a reader."""
        return self.products.describe(index)


def free(constants: RooflineConstants) -> Sequence[str]:
    """The constants that are fitted: those that are not zero."""
    return [f.name for f in fields(constants) if f.name != "spread" and getattr(constants, f.name) > 0]
