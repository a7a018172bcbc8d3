"""Proven bugs for one design of the user's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.hls.classes import CLASSES
from dovetail.hls.design import Design
from dovetail.hls.inject.mutant import all_of
from dovetail.hls.inject.proof import Proven, balanced, prove
from dovetail.hls.inject.syntax import read


@dataclass(frozen=True, slots=True)
class Injected:
    """Proven bugs of a design, and what became of all that were tried by (class, fate)."""

    proven: tuple[Proven, ...]
    fates: Counter[tuple[str, str]]


def inject(design: Design, count: int = 10, classes: Sequence[str] = (), seed: int = 0) -> Injected:
    """Put bugs into a design and prove them.

    Parameters
    ----------
    design : Design
        With a contract; an oracle in C++ makes the proofs stronger.
    count : int
        Bugs wanted, at most.
    classes : sequence of str
        Only these; all when empty.
    seed : int
        Draws among the candidates.

    Raises
    ------
    DovetailError
        An unknown class, no place for any bug, or a design that fails its own contract.
    """
    for bug in classes:
        if bug not in CLASSES:
            raise DovetailError(f"unknown class '{bug}'", where="--class", hint=did_you_mean(bug, list(CLASSES)))
    found = [m for m in all_of(read(design.source)) if not classes or m.bug in classes]
    if not found:
        raise DovetailError(
            "there is no place for such a bug",
            where=design.contract.top,
            why=f"classes {', '.join(classes) or 'all'}",
            hint="another class",
        )
    outcome = prove(design, balanced(found, 3 * count, f"{seed}"))
    wanted = balanced([p.mutant for p in outcome.proven], count, f"{seed}/kept")
    return Injected(tuple(p for p in outcome.proven if p.mutant in wanted), outcome.fates)
