"""Mutants of a design, each with its proof or with the reason why it was dropped."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dovetail.hls.classes import LOGICAL, PRAGMA
from dovetail.hls.design import Design
from dovetail.hls.inject.inputs import Test, drawn_for
from dovetail.hls.inject.judge import Verdict, judge
from dovetail.hls.inject.labels import EQUIVALENT, PROVEN, UNCOMPILED, UNTRIED, settled
from dovetail.hls.inject.mutant import Mutant
from dovetail.hls.inject.performance.evidence import Evidence, evidence


@dataclass(frozen=True, slots=True)
class Proven:
    """A bug with its proof.

    Parameters
    ----------
    mutant : Mutant
        The change; its class is the proven one.
    verdict : Verdict, optional
        For what is computed: how it misbehaves, and on which of `tests`.
    test : Test
        The input on which it does.
    evidence : Evidence, optional
        For the hardware: what a model says.
    """

    mutant: Mutant
    verdict: Verdict | None = None
    test: Test = ()
    evidence: Evidence | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Its class, or those of its parts."""
        return tuple(part.bug for part in self.mutant.parts) or (self.mutant.bug,)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a design's mutants: the proven ones, and counts by (class, fate)."""

    proven: tuple[Proven, ...]
    fates: Counter[tuple[str, str]]


def prove(design: Design, mutants: Sequence[Mutant]) -> Outcome:
    """Run the logical mutants, model the pragma ones.

    Raises
    ------
    DovetailError
        The design itself fails its contract, or cannot be traced.
    """
    logical = [m for m in mutants if m.bug in LOGICAL]
    fates: Counter[tuple[str, str]] = Counter()
    proven: list[Proven] = []
    tests = drawn_for(design.contract, design.name or design.contract.top)
    verdicts = (
        judge(design, [m.of(design.source) for m in logical], tests, [m.bug == "INIT" for m in logical])
        if logical
        else []
    )
    for mutant, verdict in zip(logical, verdicts):
        fate, bug = settled(mutant, verdict)
        fates[mutant.bug, fate] += 1
        if fate == PROVEN:
            test = tests[max(0, verdict.test)]
            proven.append(Proven(replace(mutant, bug=bug), verdict, test))
    for mutant in mutants:
        if mutant.bug in PRAGMA:
            found = evidence(design, mutant)
            fates[mutant.bug, PROVEN if found else EQUIVALENT] += 1
            proven += [Proven(mutant, evidence=found)] if found else []
    return Outcome(tuple(proven), fates)


def pairs(design: Design, proven: Sequence[Proven], most: int, seed: str) -> Outcome:
    """Two proven bugs at once, of different classes and places, at least one of them logical; the pair is run again."""
    found = list(_drawn(proven, most, random.Random(f"pairs:{seed}")))
    tests = drawn_for(design.contract, design.name or design.contract.top)
    fates: Counter[tuple[str, str]] = Counter()
    out: list[Proven] = []
    verdicts = judge(design, [m.of(design.source) for m, _ in found], tests, [True] * len(found)) if found else []
    for (mutant, parts), verdict in zip(found, verdicts):
        blank = {"uncompiled": UNCOMPILED, "unrun": UNTRIED}.get(verdict.end, EQUIVALENT)
        fate = PROVEN if verdict.wrong else blank
        fates["pair", fate] += 1
        if fate == PROVEN:
            shown = next((p.evidence for p in parts if p.evidence), None)
            out.append(Proven(mutant, verdict, tests[max(0, verdict.test)], shown))
    return Outcome(tuple(out), fates)


def _drawn(proven: Sequence[Proven], most: int, draw: random.Random) -> Iterator[tuple[Mutant, tuple[Proven, Proven]]]:
    seen: set[tuple[int, int]] = set()
    for _ in range(40 * most):
        if len(seen) >= most or len(proven) < 2:
            return
        i, j = sorted(draw.sample(range(len(proven)), 2))
        one, other = proven[i], proven[j]
        if (
            (i, j) in seen
            or one.mutant.bug == other.mutant.bug
            or not (one.verdict or other.verdict)
            or not _apart(one.mutant, other.mutant)
        ):
            continue
        seen.add((i, j))
        yield _joined(one.mutant, other.mutant), (one, other)


def _apart(one: Mutant, other: Mutant) -> bool:
    return all(a.end < b.start or b.end < a.start for a in one.edits for b in other.edits)


def _joined(one: Mutant, other: Mutant) -> Mutant:
    edits = tuple(sorted((*one.edits, *other.edits)))
    return Mutant(
        f"{one.bug}+{other.bug}",
        f"{one.operator}+{other.operator}",
        edits,
        f"{one.note}; {other.note}",
        one.line,
        one.target,
        (one, other),
    )


def balanced(mutants: Sequence[Mutant], most: int, seed: str) -> list[Mutant]:
    """At most `most` of them, one class after the other in turn, drawn by the seed."""
    draw = random.Random(f"sample:{seed}")
    by_class: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_class.setdefault(mutant.bug, []).append(mutant)
    for group in by_class.values():
        draw.shuffle(group)
    out: list[Mutant] = []
    while len(out) < most and any(by_class.values()):
        for bug in sorted(by_class):
            if by_class[bug] and len(out) < most:
                out.append(by_class[bug].pop())
    return out


def witness(proven: Proven, ports: Sequence[str]) -> dict[str, Any]:
    """The proof as JSON holds it: inputs by port for each call, how it ended, what the model says."""
    out: dict[str, Any] = {}
    if proven.verdict is not None:
        calls = [
            dict(zip(ports, map(list, proven.test[i : i + len(ports)])))
            for i in range(0, len(proven.test), max(1, len(ports)))
        ]
        out["execution"] = {
            "end": proven.verdict.end,
            "detail": proven.verdict.detail,
            "line": proven.verdict.line,
            "unset": proven.verdict.unset,
            "leftover": proven.verdict.leftover,
            "inputs": calls,
        }
    if proven.evidence is not None:
        out["model"] = proven.evidence.plain()
    return out
