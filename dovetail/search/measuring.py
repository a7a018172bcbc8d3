"""Real measurements of designs of a search that run on this computer, spent where they may change the answer."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity
from dovetail.search.certainty import order
from dovetail.search.chosen import Chosen, design_of
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space

HOST = "host"
SECONDS = 2.0  # of decode, for each design
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """One design's mean time between tokens, predicted and measured here."""

    candidate: Candidate
    predicted: Quantity
    measured: Quantity

    @property
    def error(self) -> float:
        """Predicted over measured, less 1."""
        return self.predicted.value / self.measured.value - 1.0

    def to_json(self) -> dict[str, Any]:
        """Part of the JSON of a search."""
        pair = {"predicted": self.predicted.to_json(), "measured": self.measured.to_json(), "error": self.error}
        return {"design": self.candidate.to_json(), "metric": "tpot", **pair}


def measure_front(
    found: Result, count: int, report: Report = lambda line: None, seconds: float = SECONDS
) -> tuple[Measured, ...]:
    """Measure the winner and the `count` - 1 designs of the front whose order with it is least certain.

    Raises
    ------
    DovetailError
        No design of the front runs on this computer with weights that are here.
    """
    if found.asked is None or found.winner is None:
        return ()
    here = [c for c in found.front if _runs_here(found.asked, c)]
    if not here:
        what = "no design of the front can be measured"
        raise DovetailError(what, why="none is on 'host' with weights that are here", hint="machines: [host]")
    doubt = {
        str(c.other): abs(np.log(c.value)) / max(np.log(c.high / c.low), 1e-9)
        for c in order(found, len(found.front)) if c.metric == "tpot"
    }  # fmt: skip
    ranked = sorted(here, key=lambda c: -1.0 if c is found.winner else doubt.get(str(c), np.inf))
    return tuple(measure(found.asked, ranked[:count], report, seconds))


def measure(
    space: Space, candidates: Sequence[Candidate], report: Report = lambda line: None, seconds: float = SECONDS
) -> Iterator[Measured]:
    """Measure designs on this computer: each recipe is applied and loaded once, for all of its designs.

    Raises
    ------
    DovetailError
        A recipe that cannot be applied here.
    """
    from dovetail.runtime.load import load
    from dovetail.runtime.speed import decode_speed

    groups: dict[tuple[str, str], list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault((candidate.structure.model, candidate.structure.recipe), []).append(candidate)
    for (_, recipe), some in groups.items():
        designs = [design_of(space, candidate) for candidate in some]
        with tempfile.TemporaryDirectory(prefix="dovetail-") as folder:
            report(f"measuring {len(some)} designs with {recipe}")
            path = _applied(designs[0], Path(folder))
            loaded = load(path, kernels="dense" if designs[0].machine.packed is None else "auto")
            for candidate, design in zip(some, designs, strict=True):
                work = design.workload
                speed = decode_speed(loaded, int(work.mean_context), batch=int(work.batch), budget_s=seconds)
                yield Measured(candidate, design.estimate().tpot, _tpot(design, speed))


def _runs_here(space: Space, candidate: Candidate) -> bool:
    return candidate.structure.machine == HOST and design_of(space, candidate).model.folder is not None


def _applied(design: Chosen, folder: Path) -> Path:
    source = design.model.folder
    if source is None:
        raise DovetailError(f"{design.model.name} cannot be measured", why="its weights are not here")
    if not design.recipe.methods:
        return source
    return design.recipe.apply(source, folder / "applied").path


def _tpot(design: Chosen, speed: Any) -> Quantity:
    batch = float(design.workload.batch)
    low, high = (batch / float(v) for v in (speed.high, speed.low))
    return Quantity(batch / speed.tokens_per_s, low, high, "s", "measured", f"{speed.repeats} repeats on this computer")
