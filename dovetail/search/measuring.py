"""Real measurements of designs of a search, spent where they may change the answer.

Designs on this computer run; those on an integer array, which `dovetail compile` makes, are simulated as RTL.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity
from dovetail.search.certainty import HERE as HERE
from dovetail.search.certainty import SIMULATED as SIMULATED
from dovetail.search.certainty import order
from dovetail.search.chosen import Chosen, design_of
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space

HOST = "host"
SECONDS = 2.0  # of decode, for each design
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One design's mean time between tokens, predicted and measured.

    Parameters
    ----------
    machine : str
        What was measured: ``this computer``, or ``simulated RTL``, whose cycles are counted and whose clock is assumed.
    """

    candidate: Candidate
    predicted: Quantity
    measured: Quantity
    machine: str = HERE

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted.value / self.measured.value - 1.0

    def to_json(self) -> dict[str, Any]:
        """Part of the JSON of a search."""
        pair = {"predicted": self.predicted.to_json(), "measured": self.measured.to_json(), "error": self.error}
        return {"design": self.candidate.to_json(), "machine": self.machine, "metric": "tpot", **pair}


def measure_front(
    found: Result, count: int, report: Report = lambda line: None, seconds: float = SECONDS
) -> tuple[Measured, ...]:
    """Measure the winner and the `count` - 1 designs of the front whose order with it is least certain.

    Raises
    ------
    DovetailError
        No design of the front can be measured: on this computer, or simulated, with weights that are here.
    """
    if found.asked is None or found.winner is None:
        return ()
    here, why = measurable(found.asked, found.front)
    if not here:
        why = why or "none is on 'host' or on an integer array with weights that are here"
        hint = "machines: [host], or a template overlay with format: integers"
        raise DovetailError("no design of the front can be measured", why=why, hint=hint)
    if why:
        report(f"designs on the overlay are left out: {why}")
    doubt = {
        str(c.other): abs(np.log(c.value)) / max(np.log(c.high / c.low), 1e-9)
        for c in order(found, len(found.front)) if c.metric == "tpot"
    }  # fmt: skip
    ranked = sorted(here, key=lambda c: -1.0 if c is found.winner else doubt.get(str(c), np.inf))
    return tuple(measure(found.asked, ranked[:count], report, seconds))


def measurable(space: Space, candidates: Sequence[Candidate]) -> tuple[list[Candidate], str]:
    """Those that can be measured; and why designs on integer arrays cannot, "" where they can or there are none."""
    designs = [(candidate, design_of(space, candidate)) for candidate in candidates]
    known = [(c, d) for c, d in designs if d.model.folder is not None and (_on_array(d) or _on_host(c))]
    why = no_simulator() if any(_on_array(d) for _, d in known) else ""
    return [c for c, d in known if not (why and _on_array(d))], why


def measure(
    space: Space, candidates: Sequence[Candidate], report: Report = lambda line: None, seconds: float = SECONDS,
    applied: Path | None = None,
) -> Iterator[Measured]:  # fmt: skip
    """Measure designs: on this computer each recipe is applied and loaded once, of RTL each array is built once.

    Parameters
    ----------
    seconds : float
        Of decode on this computer, for each design.
    applied : Path, optional
        Where checkpoints after their recipes are kept, and looked for; by default nothing is.

    Raises
    ------
    DovetailError
        A recipe that cannot be applied here, no Verilator for a design on an integer array, RTL that is wrong.
    """
    from dovetail.search.timed import Timer

    designs = [(candidate, design_of(space, candidate)) for candidate in candidates]
    with Timer(False, seconds, report, applied) as timer:
        for candidate, design in _by_what_they_share(designs):
            found = timer(design.model, design.machine, design.recipe, design.workload)
            machine = SIMULATED if _on_array(design) else HERE
            yield Measured(candidate, design.estimate().tpot, found.mean, machine)


def _by_what_they_share(designs: Sequence[tuple[Candidate, Chosen]]) -> list[tuple[Candidate, Chosen]]:
    """Those of one model and recipe together, in the order of the first of each; integer arrays last, by length."""

    def shared(pair: tuple[Candidate, Chosen]) -> tuple[Any, ...]:
        return _on_array(pair[1]), pair[0].structure.model, pair[0].structure.recipe

    first: dict[tuple[Any, ...], int] = {}
    for place, pair in enumerate(designs):
        first.setdefault(shared(pair), place)
    return sorted(designs, key=lambda pair: (
        _on_array(pair[1]), first[shared(pair)], float(pair[1].workload.total_tokens) if _on_array(pair[1]) else 0.0,
    ))  # fmt: skip


def _on_array(design: Chosen) -> bool:
    return design.machine.integer_array is not None


def _on_host(candidate: Candidate) -> bool:
    return candidate.structure.machine == HOST


def no_simulator() -> str:
    """Why nothing can be simulated here; "" where it can."""
    from dovetail.accel.simulate.verilator import verilator

    try:
        verilator()
    except DovetailError as error:
        return str(error)
    return ""
