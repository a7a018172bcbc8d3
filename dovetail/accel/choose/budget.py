"""A budget: the most of each resource, and the bandwidth of memory; what it leaves out is the target's."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dovetail.core import units
from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hardware.target import KINDS, Target

_TERM = re.compile(r"^\s*([a-z_]+)\s*(<=|=|<)\s*(.+?)\s*$")
EXAMPLE = "dsp<=256,bram<=100,bw=10GB/s"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a design may take.

    Parameters
    ----------
    limits : dict of str to float
        By ``dsp``, ``lut``, ``ff``, ``bram``.
    bandwidth : float
        Bytes/s of memory.
    clock_hz : float
    """

    limits: dict[str, float]
    bandwidth: float
    clock_hz: float


def parse_budget(text: str, target: Target) -> Budget:
    """A budget such as ``dsp<=256,bram<=100,bw=10GB/s,clock=200MHz`` on a target.

    Raises
    ------
    DovetailError
        A term that is none, an unknown name, a number that is not positive, more than the target has.
    """
    found = Budget(dict(target.resources), target.bandwidth, target.clock_hz)
    for term in filter(None, (part.strip() for part in text.split(","))):
        found = _with(found, term, target)
    return found


def _with(budget: Budget, term: str, target: Target) -> Budget:
    match = _TERM.match(term)
    if match is None:
        raise DovetailError(f"'{term}' is not a term of a budget", where="budget", hint=EXAMPLE)
    name, sign, value = match.groups()
    if name in KINDS:
        return _limited(budget, name, sign, value, target)
    if name not in ("bw", "clock"):
        hint = did_you_mean(name, [*KINDS, "bw", "clock"])
        raise DovetailError(f"no resource '{name}'", where="budget", hint=hint)
    number = _positive(name, value, "byte/s" if name == "bw" else "Hz")
    if name == "clock":
        return Budget(budget.limits, budget.bandwidth, number)
    if number > target.bandwidth * (1 + 1e-9):
        why = f"{target.name} has {units.show(target.bandwidth, 'byte/s')}"
        raise DovetailError(f"a bandwidth of {value}", where="budget", why=why, hint="less, or another target")
    return Budget(budget.limits, number, budget.clock_hz)


def _limited(budget: Budget, name: str, sign: str, value: str, target: Target) -> Budget:
    number = _positive(name, value, "")
    if sign == "<":
        number = number - 1 if number == int(number) else float(int(number))
    if number > target.resources[name]:
        why = f"{target.name} has {target.resources[name]:,}"
        raise DovetailError(f"{name} of {value}", where="budget", why=why, hint="less, or another target")
    return Budget({**budget.limits, name: number}, budget.bandwidth, budget.clock_hz)


def _positive(name: str, value: str, unit: str) -> float:
    number = units.parse(value, unit, where=f"budget: {name}")
    if number <= 0:
        raise DovetailError(f"{name} of {value}", where="budget", hint="more than nothing")
    return number
