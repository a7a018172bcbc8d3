"""Study 4: every design of the embedded model on this computer and on the overlay, measured, and the predicted front.

On this computer a design decodes; on the overlay its RTL is simulated at the design's context, which counts cycles.
Each design is kept as soon as it is measured, one line of JSON, and checkpoints after their recipes beside that file; a
run that was stopped goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search import Candidate, Space
from dovetail.search.answer import Label
from dovetail.search.codesign import evaluator
from dovetail.search.lattice import Lattice
from dovetail.search.measuring import measurable, measure
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

    @property
    def delay(self) -> float:
        """Time between tokens that the predicted pick adds to the least measured one, relative."""
        return float(self.measured[int(np.argmin(self.predicted))] / self.measured.min() - 1)

    def of(self, chosen: NDArray[np.bool_]) -> Figures:
        """Some of the designs."""
        return Figures(*(getattr(self, each.name)[chosen] for each in fields(self)))


def here(keep: Path) -> Iterator[tuple[str, str]]:
    """Rows of the table."""
    space = replace(Space.load(STUDY), constraints=())
    every, kept = designs(space), read(keep)
    can, why = measurable(space, every)
    missing = [c for c in can if str(c) not in kept]
    with keep.open("a", encoding="utf-8") as sink:
        if keep.stat().st_size and not keep.read_bytes().endswith(b"\n"):
            sink.write("\n")  # a line that was cut off when the run was stopped
        for found in measure(space, missing, said, SECONDS, keep.with_suffix(".checkpoints")):
            row = {"design": str(found.candidate), "machine": found.machine, "measured": found.measured.value}
            sink.write(json.dumps(row | {"source": found.measured.source}) + "\n")
            sink.flush()
    if why:
        yield "designs on the overlay that are left out", f"{len(every) - len(can)}: {why}"
    yield from told(figures(can, read(keep)), np.asarray([c.structure.machine for c in can]))


def said(line: str) -> None:
    """Progress, at once."""
    print(line, flush=True)


def told(known: Figures, machines: NDArray[np.str_]) -> Iterator[tuple[str, str]]:
    """The figures in words: of all designs, then of each machine alone."""
    names = list(dict.fromkeys(machines.tolist()))
    for name in ["", *(names if len(names) > 1 else ())]:
        some = known.of(machines == name if name else np.full(len(machines), True))
        size, error = len(some.front(some.measured)), np.abs(some.predicted / some.measured - 1)
        where = f" on {name}" if name else ""
        what = f"study 4, {len(error)} designs{where} measured: recall of the measured front"
        yield what, f"{some.recall:.0%} of {size}"
        yield f"regret of the predicted pick{where}: throughput, tpot", f"{some.regret:.1%}, {some.delay:.1%}"
        yield f"error of predicted tpot{where}: median, worst", f"{np.median(error):.1%}, {error.max():.1%}"


def figures(every: Sequence[Candidate], kept: Mapping[str, Mapping[str, Any]]) -> Figures:
    """Columns: what is predicted now, and what was measured."""
    measured = [kept[str(c)]["measured"] for c in every]
    columns = ([float(c[name]) for c in every] for name in ("tpot", "batch", "perplexity"))
    predicted, batch, perplexity = (np.asarray(column) for column in columns)
    return Figures(predicted, np.asarray(measured, float), batch, perplexity)


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
    """Every point of a space that is feasible, as a candidate."""
    ask, lattice, found = evaluator(space, said), Lattice(space), []
    for number, structure in enumerate(lattice.structures):
        columns = lattice.columns(number, np.arange(space.rows_of(structure.machine)))
        answer = ask(structure, columns)
        known = {n: answer[n] for n in ("tpot", "throughput", "perplexity") if n in answer}
        table = {name: np.broadcast_to(value, len(columns["batch"])) for name, value in known.items()}
        for row in np.flatnonzero(answer["feasible"]):
            point = {name: float(values[row]) for name, values in columns.items()}
            metrics = {name: float(values[row]) for name, values in table.items()}
            found.append(Candidate(structure, point, metrics, Label({}, "")))
    return found
