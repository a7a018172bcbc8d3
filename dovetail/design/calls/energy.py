"""Energy of measured calls: a board's floor, joules a FLOP and a byte, fitted where the table has watts.

    energy = min(idle * time + per_flop * FLOPs + per_byte * bytes, limit * time)

as `dovetail.cost.operators.energy_j` has it. All operations and dtypes share the floor and the bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from dovetail.cost.operators import energy_j
from dovetail.design.calls.refine import refine
from dovetail.design.calls.table import Array
from dovetail.design.kernel_fit import PULL, Scores, fit, scores
from dovetail.hardware.machine import Machine

LEAST = 20  # calls with watts, of those for the fit


@dataclass(frozen=True, slots=True, eq=False)
class Powered:
    """Calls whose power was measured: seconds measured and predicted, FLOPs, bytes of main memory, joules."""

    dtype: str
    time_s: Array
    predicted_s: Array
    flops: Array
    bytes: Array
    energy_j: Array

    def joules(self, machine: Machine, time_s: Array) -> Array:
        """What a machine says they take."""
        return np.asarray(energy_j(time_s, self.flops, self.bytes, self.dtype, machine))


class EnergyConstant(NamedTuple):
    """One constant, by its path in a machine's file."""

    path: str
    unit: str
    before: float
    after: float


@dataclass(frozen=True, slots=True, eq=False)
class EnergyFitted:
    """Energy constants before and after, and errors on held-out calls.

    `calibrated` and `before` are errors of energies with predicted times, `limit` that of the power limit times the
    measured time.
    """

    constants: tuple[EnergyConstant, ...]
    calls: int
    calibrated: Scores
    before: Scores
    limit: Scores


def powered(dtype: str, calls: Any, constants: Any) -> Powered:
    """The calls that have watts, with what their constants say of time and bytes."""
    known = calls.of(~np.isnan(calls.power_w))
    if not known.time_s.size:
        return Powered(dtype, *(known.time_s for _ in range(5)))
    cost = known.cost(constants)
    return Powered(
        dtype, known.time_s, np.asarray(cost.time_s), known.flops, np.broadcast_to(cost.bytes, known.time_s.shape),
        known.power_w * known.time_s,
    )  # fmt: skip


def fit_energy(for_fit: Sequence[Powered], rest: Sequence[Powered], machine: Machine) -> tuple[Machine, EnergyFitted]:
    """A machine with the floor and the joules a FLOP and a byte that meet measured energies best.

    Parameters
    ----------
    for_fit, rest : sequence of Powered
        Calls to fit on, whose measured time is taken, and all others, judged with predicted times.
    """
    parts, others = ([one for one in every if one.time_s.size] for every in (for_fit, rest))
    dtypes = list(dict.fromkeys(one.dtype for one in parts))
    names = ["idle_w", "per_byte", *dtypes]
    start = make_dataclass("Energy", names, frozen=True)(
        float(machine.idle_w), float(machine.j_per_byte), *(float(machine.j_per_flop[dtype]) for dtype in dtypes)
    )

    def on(constants: Any) -> Machine:
        flop = {**machine.j_per_flop, **{dtype: getattr(constants, dtype) for dtype in dtypes}}
        return replace(machine, idle_w=constants.idle_w, j_per_byte=constants.per_byte, j_per_flop=flop)

    def errors_of(constants: Any) -> list[Array]:  # relative ones: in logarithms, what is too low would count more
        return [one.joules(on(constants), one.time_s) / one.energy_j - 1.0 for one in parts]

    limits = {"idle_w": (0.0, float(machine.tdp_w))}
    found = fit(start, names, errors_of, limits=limits, pull=PULL)
    found = refine(found, start, names, errors_of, limits=limits, pull=PULL)
    paths = {"idle_w": ("power.idle", "W"), "per_byte": ("energy.per_byte", "J/byte")}
    paths |= {dtype: (f"energy.per_flop.{dtype}", "J/flop") for dtype in dtypes}
    constants = tuple(EnergyConstant(*paths[name], getattr(start, name), getattr(found, name)) for name in names)
    truth, time_s = (np.concatenate([getattr(one, field) for one in others]) for field in ("energy_j", "time_s"))
    ours, theirs = (np.concatenate([one.joules(on(of), one.predicted_s) for one in others]) for of in (found, start))
    errors = (scores(joules, truth, time_s) for joules in (ours, theirs, float(machine.tdp_w) * time_s))
    return on(found), EnergyFitted(constants, len(truth), *errors)
