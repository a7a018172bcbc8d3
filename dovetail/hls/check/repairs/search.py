"""Run the variants of a text: those on which every test agrees with the oracle say where the bug is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dovetail.hls.check.compare import first_difference, number
from dovetail.hls.check.dynamic import Trial, bad_end
from dovetail.hls.check.repairs.copies import CHOOSER, Copy, copies, gathered
from dovetail.hls.check.repairs.schemata import VARIANT, Variant, chosen, places, woven
from dovetail.hls.compile import PROBE
from dovetail.hls.design import Design
from dovetail.hls.harness import Outcome, Program, build_program
from dovetail.hls.sandbox import Limits
from dovetail.hls.signature import Signature

PARTS, COPIES = (80, 140), 16  # variants in one program, the likeliest first; copies of the text
ROUNDS = 3  # compilations, variants that do not compile left out each time
TESTS = 10  # on which a variant must agree
PAGES = 6 << 20  # bytes of tests that one run may read
HALF = 0.6  # of the distance left: a change that does this much touches what is wrong
SECONDS = 1.0  # of CPU that one variant may take on one test
RUN = Limits(wall_s=12.0, cpu_s=12.0, memory=1 << 30, output=16 << 20, file=128 << 20)


@dataclass(frozen=True, slots=True)
class Repair:
    """A variant that does better than the text: on all tests (`whole`), or on the one that failed."""

    line: int
    new: str
    cost: float
    whole: bool
    slip: str = ""


def repairs(
    trial: Trial,
    design: Design,
    work: Path,
    outcomes: Sequence[Outcome],
    suspicion: Mapping[int, float],
    share: float = 1.0,
) -> list[Repair]:
    """Small changes of the design after which its tests go well, the likeliest first.

    Parameters
    ----------
    trial : Trial
        Tests and what the oracle says of them; without an oracle a test goes well when nothing bad happens.
    design : Design
        The text.
    work : Path
        A workplace.
    outcomes : sequence of Outcome
        How the design did on the tests.
    suspicion : mapping
        Line → 0 for the most suspicious, 1 for others: decides which variants are tried, and breaks ties.
    share : float
        Of the variants that are tried of a text that compiles quickly.
    """
    failed = sorted((o for o in outcomes if goes_wrong(trial, o)), key=lambda o: o.steps)
    if not failed:
        return []
    out: list[Repair] = []
    first, more, most = (max(round(part * share), 4) for part in (*PARTS, COPIES))
    listed, known = chosen(places(design.source), suspicion, first + more), trial.program.signature
    parts: list[Made] = [_woven(design, work, part, known) for part in (listed[:first], listed[first:])]
    for made in (*parts, _copied(design, work, copies(design.source, suspicion, most), known)):
        program, variants = made()
        if program is not None:
            out += _judged(trial, program, variants, outcomes, failed, suspicion)
        if any(repair.whole for repair in out):
            break
    return sorted(out, key=lambda r: (not r.whole, r.cost, r.line))


Slip = Variant | Copy


def _judged(
    trial: Trial,
    program: Program,
    variants: Sequence[Slip],
    outcomes: Sequence[Outcome],
    failed: Sequence[Outcome],
    suspicion: Mapping[int, float],
) -> list[Repair]:
    first = failed[0].index
    seen = _tried(trial, program, [first], [v.number for v in variants])
    better = [v for v in variants if _well(trial, seen.get((first, v.number)))]
    if not better:
        return _nearer(trial, failed[0], seen, variants)
    tests = _few(trial, outcomes, failed)
    again = _tried(trial, program, tests, [v.number for v in better])
    out = []
    for variant in better:
        whole = all(_well(trial, again.get((test, variant.number))) for test in tests)
        out.append(
            Repair(variant.line, variant.new, variant.cost + suspicion.get(variant.line, 1.0), whole, variant.slip)
        )
    return out


def _nearer(
    trial: Trial, failed: Outcome, seen: Mapping[tuple[int, int], Outcome], variants: Sequence[Slip]
) -> list[Repair]:
    """Changes that bring the outputs at least `HALF` nearer to the oracle's: what is wrong passes there."""
    first = distance(trial, failed)
    out = []
    for variant in variants:
        outcome = seen.get((failed.index, variant.number))
        if outcome is not None and outcome.end == "done" and (left := distance(trial, outcome)) <= HALF * first:
            out.append(Repair(variant.line, variant.new, left / first, False, variant.slip))
    return out


def distance(trial: Trial, outcome: Outcome) -> float:
    """How far the outputs of a test are from the oracle's: the sum over all values; infinite where they cannot be."""
    expected = (trial.expected or {}).get(outcome.index)
    if expected is None or outcome.end != "done":
        return math.inf
    total = 0.0
    for ours, theirs in zip(outcome.outputs, expected.outputs):
        for place, values in theirs.items():
            mine = ours.get(place, ())
            if len(mine) != len(values):
                return math.inf
            total += sum(abs(number(a) - number(b)) for a, b in zip(mine, values) if a != b)
    return total if total > 0 else math.inf


def _well(trial: Trial, outcome: Outcome | None) -> bool:
    return outcome is not None and not goes_wrong(trial, outcome)


def goes_wrong(trial: Trial, outcome: Outcome) -> bool:
    if trial.expected is not None and outcome.index not in trial.expected:
        return False
    if bad_end(outcome, trial.leaks, trial.contract.leftovers):
        return True
    if outcome.end != "done" or trial.expected is None:
        return False
    return first_difference(outcome, trial.expected[outcome.index], trial.contract) is not None


def _few(trial: Trial, outcomes: Sequence[Outcome], failed: Sequence[Outcome]) -> list[int]:
    """Tests for the second round: those that failed, then others."""
    bad = [o.index for o in failed[: TESTS // 2]]
    known = range(len(trial.tests)) if trial.expected is None else sorted(trial.expected)
    return [*bad, *[i for i in known if i not in bad]][:TESTS]


Made = Callable[[], tuple[Program | None, Sequence[Slip]]]


def _woven(design: Design, work: Path, part: list[Variant], known: Signature) -> Made:
    """Variants of statements and conditions, all in the text itself."""

    def made() -> tuple[Program | None, Sequence[Slip]]:
        variants = part
        for _ in range(ROUNDS if variants else 0):
            text = woven(design.source, variants)
            program, said = build_program(
                design.with_source(text), work, "variants", PROBE, bare=False, signature=known
            )
            if program is not None:
                return program, variants
            wrong = {error.line for error in said.errors if error.file.endswith(VARIANT)}
            variants = [v for v in variants if v.number not in wrong]
            if not wrong or not variants:
                break
        return None, []

    return made


def _copied(design: Design, work: Path, part: list[Copy], known: Signature) -> Made:
    """Variants of declarations, each in a copy of the text."""

    def made() -> tuple[Program | None, Sequence[Slip]]:
        variants = [] if design.contract.call else part
        contract = replace(design.contract, call=CHOOSER)
        for _ in range(ROUNDS if variants else 0):
            text = gathered(design.source, contract.top, variants)
            several = replace(design, source=text, contract=contract)
            program, said = build_program(several, work, "copies", PROBE, bare=False, signature=known)
            if program is not None:
                return program, variants
            wrong = {error.file.rpartition("copy")[2] for error in said.errors}
            wrong |= {error.message.partition("dovetail_c")[2][:6] for error in said.errors}
            left = [v for v in variants if str(v.number) not in wrong]
            if len(left) == len(variants):
                break
            variants = left
        return None, []

    return made


def _tried(
    trial: Trial, program: Program, tests: Sequence[int], choices: Sequence[int]
) -> dict[tuple[int, int], Outcome]:
    """Each test on each variant: (test, variant) → how it went."""
    if not choices or not tests:
        return {}
    given = [trial.tests[i] for i in tests]
    outcomes, _ = program.run(given, budget=trial.budget, seconds=SECONDS, symbols=False, limits=RUN, choices=choices)
    return {(tests[o.index], o.choice): replace(o, index=tests[o.index]) for o in outcomes}
