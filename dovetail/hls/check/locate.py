"""Where a bug is when no other version of the text shows it: what takes it away first, then what is suspicious."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dovetail.hls.check.dynamic import Trial
from dovetail.hls.check.guess import class_of_slip
from dovetail.hls.check.repairs.search import Repair, goes_wrong, repairs
from dovetail.hls.check.repairs.tables import lone_zeros
from dovetail.hls.check.report import Finding
from dovetail.hls.check.suspects import always_zero, spectrum
from dovetail.hls.design import Design
from dovetail.hls.harness import Outcome

GUESSED = ("MISMATCH", "BUF")  # classes that no fault shows
QUICK_S = 1.0  # of CPU: what takes longer to compile gets fewer variants
STEP, RAN, REST = 0.05, 0.2, 0.6  # how much less suspicious: per rank, a line that ran, a line that did not


def located(
    trial: Trial, design: Design, work: Path, outcomes: Sequence[Outcome], finding: Finding, cost_s: float
) -> Finding:
    """The finding with its lines put in order by small changes that make the tests go well.

    `cost_s` is what the design took to compile: of one that takes long, fewer variants are tried.
    """
    if trial.changes():
        return finding
    share = min(1.0, QUICK_S / max(cost_s, 1e-3))
    found = repairs(trial, design, work, outcomes, suspicion(trial, outcomes, finding.lines), share)
    if finding.by == "differential" and not any(repair.whole for repair in found):
        idle = [*always_zero(design.source), *lone_zeros(design.source)]
        lines = tuple(dict.fromkeys([*idle, *finding.lines]))[:3]
        kind = "ZERO" if idle and finding.kind in GUESSED else finding.kind
        finding = replace(finding, lines=lines, line=lines[0], kind=kind) if lines else finding
    return _with(finding, found, design.source) if found else finding


def suspicion(trial: Trial, outcomes: Sequence[Outcome], first: Sequence[int]) -> dict[int, float]:
    """Line → 0 for the most suspicious to 1 for others."""
    failed = [o for o in outcomes if goes_wrong(trial, o)]
    passed = [o for o in outcomes if o.end == "done" and o not in failed]
    ranked = spectrum(trial.program, failed, passed)
    out = dict.fromkeys(range(1, trial.source.count("\n") + 2), REST)
    out |= {line: min(RAN + STEP * place, REST) for place, line in enumerate(ranked)}
    return out | {line: STEP * place for place, line in enumerate(first)}


def _with(finding: Finding, found: Sequence[Repair], source: str) -> Finding:
    whole = [repair for repair in found if repair.whole]
    lines = tuple(dict.fromkeys([*(r.line for r in whole), *finding.lines, *(r.line for r in found)]))[:3]
    if not whole and finding.by == "differential":
        lines = tuple(dict.fromkeys([*(r.line for r in found[:1]), *finding.lines, *(r.line for r in found)]))[:3]
    best = found[0]
    slips = {repair.slip for repair in found if repair.whole and repair.line == best.line}
    slip = "sign" if {"sign", "room"} <= slips else best.slip  # more room mends a sign too
    kind = _kind(finding, class_of_slip(slip, source, best.line))
    if not whole:
        return replace(finding, lines=lines, line=lines[0], kind=kind)
    evidence = f"{finding.evidence}; all tests go well with '{best.new}' on line {best.line}"
    return replace(finding, lines=lines, line=lines[0], evidence=evidence, kind=kind)


def _kind(finding: Finding, told: str) -> str:
    """The class, when what takes the bug away tells one: a fault is what it leads to, not what it is."""
    if not told or finding.by == "shift watch":
        return finding.kind
    over = {"INIT": ("OOB", "FAULT", "SHFT", "MISMATCH"), "MLU": ("INIT", *GUESSED)}
    return told if finding.kind in over.get(told, GUESSED) else finding.kind
