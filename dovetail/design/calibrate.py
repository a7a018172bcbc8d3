"""`calibrate --host`: measure small random Llamas on this computer and fit the machine's constants to them.

The shapes are chosen to separate the constants: narrow ones are all launch, wide ones all arithmetic or memory, long
contexts all cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.files import write_text
from dovetail.core.quantity import exact
from dovetail.design import calibrate_packed as packed_part
from dovetail.design.calibrate_packed import Observed
from dovetail.design.fit import CONSTANTS, Observation, fit, held_out
from dovetail.design.shapes import Shape, Step, Timed, observations, random_model, time_of
from dovetail.hardware import Machine, Source, machine_to_yaml
from dovetail.hardware.host import calibration_path, host_machine

Report = Callable[[str], None]


SHAPES = (
    Shape(64, 2, 192, 4, 2),
    Shape(96, 5, 256, 6, 3),
    Shape(192, 5, 512, 6, 6),
    Shape(320, 5, 896, 5, 5),
    Shape(512, 2, 1408, 8, 4, 8192),
    Shape(768, 5, 2048, 12, 6, 8192),
)
STEPS: tuple[Step, ...] = (
    (1, 64, 0),
    (1, 224, 0),
    (1, 512, 0),
    (4, 96, 0),
    (1, 1, 64),
    (1, 1, 768),
    (1, 1, 2048),
    (8, 1, 64),
    (8, 1, 448),
    (24, 1, 64),
)
ROUNDS = 3
TIMED_SHARE = 0.3  # of the time given: warm-ups, caches and the largest steps take the rest


@dataclass(frozen=True, slots=True)
class Named:
    """A fitted constant, for a reader."""

    name: str
    value: float
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Calibration:
    """A calibrated machine, its constants, its held-out error and where it was written."""

    machine: Machine
    constants: tuple[Named, ...]
    error: float
    spread: float
    held_out: int
    path: Path

    def to_json(self) -> dict[str, Any]:
        source = self.machine.source("efficiency")
        return {
            "machine": self.machine.name, "title": self.machine.title, "path": str(self.path),
            "constants": {c.name: exact(c.value, c.unit, source.kind, source.text).to_json() for c in self.constants},
            "held_out_median_error": self.error, "held_out_90th_percentile": self.spread,
            "held_out_steps": self.held_out,
        }  # fmt: skip


def calibrate_host(seconds: float = 20.0, path: Path | None = None, report: Report = lambda line: None) -> Calibration:
    """Measure this computer for about `seconds` (imports not counted) and keep its constants as a machine YAML.

    Where the kernels for packed weights run, they are measured as well, in as much time again.

    Parameters
    ----------
    path : Path
        The YAML to write; by default where ``load_machine("host")`` looks for it.

    Raises
    ------
    DovetailError
        torch or transformers is not installed, or the file cannot be written.
    """
    dense, packed = observe(seconds, report)
    start = _unhindered(host_machine())
    report("fitting the constants")
    errors = np.abs(held_out(start, dense))
    fitted, errors = _with_kernels(fit(start, dense), packed, errors)
    error, spread = float(np.median(errors)), float(np.quantile(errors, 0.9))
    machine = _signed(fitted, len(errors), error, spread)
    target = write_text(path or calibration_path(), machine_to_yaml(machine))
    known = [c for c in CONSTANTS if machine.caches or "cache" not in c.name]
    known += packed_part.CONSTANTS if machine.packed is not None else ()
    constants = tuple(Named(c.name, c.get(machine), c.unit, c.meaning) for c in known)
    return Calibration(machine, constants, error, spread, len(errors), target)


def observe(seconds: float, report: Report = lambda line: None) -> tuple[list[Observation], dict[str, Observed]]:
    """Time every step of `STEPS` on every shape of `SHAPES`, and what the kernels for packed weights do beside them.

    Everything goes round `ROUNDS` times and the median round counts, so that a busy moment of the computer spreads over
    all of them instead of falling on one, and dense and packed products meet the same computer.
    """
    dense = [(shape, step, partial(time_of, loaded, step)) for shape in SHAPES for loaded in [random_model(shape)]
             for step in STEPS]  # fmt: skip
    packed = packed_part.subjects()
    budgets = [TIMED_SHARE * seconds / (max(1, len(part)) * ROUNDS) for part in (dense, packed)]
    works = [partial(time, budgets[0]) for _, _, time in dense]
    works += [partial(subject.seconds_of, budgets[1]) for subject in packed]
    times = np.empty((ROUNDS, len(works)))
    for turn in range(ROUNDS):
        kinds = f"{len(STEPS)} steps of {len(SHAPES)} random Llamas" + (", packed weights too" if packed else "")
        report(f"measuring {kinds}, round {turn + 1} of {ROUNDS}")
        times[turn] = [work() for work in works]
    medians = [float(value) for value in np.median(times, axis=0)]
    rows: list[Timed] = [(shape, step, took) for (shape, step, _), took in zip(dense, medians, strict=False)]
    measured = list(zip(packed, medians[len(dense) :], strict=True))
    return observations(rows), packed_part.packed_observations(measured) if packed else {}


def _with_kernels(machine: Machine, found: Mapping[str, Observed], errors: np.ndarray) -> tuple[Machine, np.ndarray]:
    """The machine with the constants of its kernels, and the errors of packed steps beside those of dense ones."""
    if machine.packed is None or not found:
        return replace(machine, packed=None), errors
    machine = replace(machine, packed=replace(machine.packed, rows=packed_part.rows_of_pass()))
    fitted = packed_part.fit_packed(machine, found, packed_part.call_s())
    return fitted, np.concatenate([errors, np.abs(packed_part.errors_of(machine, fitted, found))])


def _unhindered(machine: Machine) -> Machine:
    """The guessed machine with efficiencies of one: what is reached is fitted itself, not as a share of a guess."""
    return replace(machine, efficiency=replace(machine.efficiency, compute=1.0, memory=1.0))


def _signed(machine: Machine, steps: int, error: float, spread: float) -> Machine:
    """The machine with its interval set and every fitted number's source replaced by this measurement."""
    text = f"dovetail calibrate --host, {steps} steps of {len(SHAPES)} random Llamas, {date.today()}; "
    text += f"held-out median error {error:.0%}"
    source = Source("calibrated", text)
    fitted = (
        "efficiency",
        "stack",
        *(("packed",) if machine.packed is not None else ()),
        "caches",
        "memory.bandwidth",
        f"peak.{machine.stack.compute}",
    )
    named = {path: source for path in fitted if path != "caches" or machine.caches}
    kept = {p: s for p, s in machine.sources.items() if not any(p == n or p.startswith(f"{n}.") for n in named)}
    return replace(machine, efficiency=replace(machine.efficiency, spread=spread), sources=kept | named)
