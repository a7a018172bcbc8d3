"""Study 4: every design of the embedded model on this computer, measured, and the predicted front against it.

Each design is kept as soon as it is measured, one line of JSON; a run that was stopped goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search import Candidate, Space
from dovetail.search.answer import Label
from dovetail.search.codesign import evaluator
from dovetail.search.lattice import Lattice
from dovetail.search.measuring import measure
from dovetail.search.pareto import front

STUDY = Path(__file__).parents[1] / "examples" / "study-embedded.yaml"
SECONDS = 0.2  # of decode, for each design


@dataclass(frozen=True)
class Figures:
    """Columns of the designs that were measured (designs,)."""

    predicted: NDArray[np.float64]  # tpot, s
    measured: NDArray[np.float64]
    batch: NDArray[np.float64]
    perplexity: NDArray[np.float64]

    def front(self, tpot: NDArray[np.float64]) -> set[int]:
        """Designs on the front of time, throughput and perplexity by one column of times."""
        found = front(np.stack([tpot, -self.batch / tpot, self.perplexity], axis=1))
        return set(map(int, found))

    @property
    def recall(self) -> float:
        """Share of the measured front that is in the predicted one."""
        real = self.front(self.measured)
        return len(real & self.front(self.predicted)) / len(real)

    @property
    def regret(self) -> float:
        """Throughput that the predicted pick loses against the best measured one."""
        rate = self.batch / self.measured
        return float(1 - rate[int(np.argmax(self.batch / self.predicted))] / rate.max())


def here(keep: Path) -> Iterator[tuple[str, str]]:
    """Rows of the table."""
    space = replace(Space.load(STUDY), constraints=())
    every, kept = designs(space), read(keep)
    missing = [c for c in every if str(c) not in kept]
    with keep.open("a", encoding="utf-8") as sink:
        if keep.stat().st_size and not keep.read_bytes().endswith(b"\n"):
            sink.write("\n")  # a line that was cut off when the run was stopped
        for found in measure(space, missing, print, SECONDS):
            row = {"design": str(found.candidate), "predicted": found.predicted.value, "measured": found.measured.value}
            row |= {name: float(found.candidate[name]) for name in ("batch", "perplexity")}
            sink.write(json.dumps(row) + "\n")
            sink.flush()
    yield from told(figures([read(keep)[str(c)] for c in every]))


def told(known: Figures) -> Iterator[tuple[str, str]]:
    """The figures in words."""
    size, error = len(known.front(known.measured)), np.abs(known.predicted / known.measured - 1)
    yield f"study 4, {len(error)} designs measured: recall of the measured front", f"{known.recall:.0%} of {size}"
    yield "regret of the predicted pick (throughput)", f"{known.regret:.1%}"
    yield "error of predicted tpot: median, worst", f"{np.median(error):.0%}, {error.max():.0%}"


def figures(rows: Sequence[dict[str, Any]]) -> Figures:
    """Columns of rows."""
    names = ("predicted", "measured", "batch", "perplexity")
    return Figures(*(np.asarray([row[name] for row in rows], float) for name in names))


def read(keep: Path) -> dict[str, dict[str, Any]]:
    """Rows that were measured, by their designs; a last line that was cut off is left out."""
    found: dict[str, dict[str, Any]] = {}
    for line in keep.read_text(encoding="utf-8").splitlines() if keep.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[row["design"]] = row
    return found


def designs(space: Space) -> list[Candidate]:
    """Every point of a space as a candidate."""
    ask, lattice, found = evaluator(space), Lattice(space), []
    for number, structure in enumerate(lattice.structures):
        columns = lattice.columns(number, np.arange(space.rows_of(structure.machine)))
        table = {n: np.broadcast_to(v, len(columns["batch"])) for n, v in ask(structure, columns).items()
                 if n in ("tpot", "throughput", "perplexity")}  # fmt: skip
        for row in range(len(columns["batch"])):
            point = {name: float(values[row]) for name, values in columns.items()}
            metrics = {name: float(values[row]) for name, values in table.items()}
            found.append(Candidate(structure, point, metrics, Label({}, "")))
    return found
