"""What running shows: faults, endless loops, starved streams, uninitialised values, and outputs that differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.check.compare import Difference, first_difference
from dovetail.hls.check.faults import Fault, fault_of, watched
from dovetail.hls.check.guess import class_of_change, class_of_lines
from dovetail.hls.check.report import Finding
from dovetail.hls.check.shrink import Test, shrink
from dovetail.hls.check.suspects import around_access, changed_lines, endless, line_of, spectrum, uninitialised
from dovetail.hls.compile import Diagnostic
from dovetail.hls.design import Contract
from dovetail.hls.harness import RUN, Outcome, Program
from dovetail.hls.signature import parse, text, walk

LIMITS = {
    "memory": ("it takes more memory than a call may", "over {:,} MiB", RUN.memory >> 20),
    "output": ("it prints without an end", "over {:,} MiB of text", RUN.output >> 20),
    "disk": ("it fills the disk", "over {:,} MiB of files", RUN.disk >> 20),
}  # of the sandbox: what to say, and how much was too much
SLOWER, SPARE = 20, 200_000  # an endless loop takes this many times the reference's steps, and some more
_GREEDY = {
    "memory": re.compile(r"\bnew\b|alloc|push_back|resize"),
    "output": re.compile(r"printf|puts|cout|cerr|putc"),
    "disk": re.compile(r"fopen|fwrite|ofstream"),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """Everything a dynamic check needs: the design's program and contract, tests, and what the oracle says of them.

    `expected` maps a test's number to the oracle's outcome; `reference` is the oracle's text where it is C++.
    """

    program: Program
    contract: Contract
    source: str
    tests: Sequence[Test]
    expected: dict[int, Outcome] | None = None
    reference: str = ""
    warnings: Sequence[Diagnostic] = ()
    leaks: frozenset[str] = field(default_factory=frozenset)

    @property
    def budget(self) -> int:
        """Basic blocks a test may execute."""
        if not self.expected:
            return self.contract.budget
        most = max((outcome.steps for outcome in self.expected.values()), default=0)
        return min(SLOWER * most + SPARE, self.contract.budget)

    def changes(self) -> list[tuple[int, str, str]]:
        """Where the text differs from the reference's, when they are versions of one text."""
        return changed_lines(self.source, self.reference) if self.reference else []


def bad_end(outcome: Outcome, leaks: frozenset[str] = frozenset(), leftovers: bool = False) -> str:
    """Why an outcome is wrong whatever it computed: fault, budget, time, left, a limit, an event; or empty."""
    if outcome.end in ("fault", "budget", "time", "left", *LIMITS):
        return outcome.end
    for kind, _, name in outcome.events:
        if kind != "leftover" or (not leftovers and name not in leaks):
            return kind
    return ""


def ended_badly(trial: Trial, outcomes: Sequence[Outcome]) -> Finding | None:
    """The first test that ended in a way no call may."""
    for outcome in outcomes:
        why = bad_end(outcome, trial.leaks, trial.contract.leftovers)
        if not why or (trial.expected is not None and outcome.index not in trial.expected):
            continue
        test = trial.tests[outcome.index] if why in LIMITS else _smaller(trial, outcome, why)
        return _finding(trial, outcome, why, test)
    return None


def _smaller(trial: Trial, outcome: Outcome, why: str) -> Test:
    kind = fault_of(outcome).kind if why == "fault" else why

    def fails(tests: Sequence[Test]) -> list[bool]:
        outcomes, _ = trial.program.run(tests, budget=trial.budget, seconds=2.0, symbols=False)
        found = {o.index: o for o in outcomes}
        return [i in found and bad_end(found[i], trial.leaks, trial.contract.leftovers) == why
                and (why != "fault" or fault_of(found[i]).kind == kind) for i in range(len(tests))]  # fmt: skip

    return shrink(trial.tests[outcome.index], trial.contract, fails)


def _finding(trial: Trial, outcome: Outcome, why: str, test: Test) -> Finding:
    if why == "fault":
        return _of_fault(trial, fault_of(outcome), test, outcome)
    if why in ("budget", "time"):
        lines = _ranked(trial, endless(trial.program, outcome, trial.source), near=True)
        message = f"a loop does not end: stopped after {outcome.steps:,} basic blocks"
        evidence = f"the reference needs {_most(trial):,}" if trial.expected else f"the budget is {trial.budget:,}"
        return _made("INF", lines, message, evidence, test, "loop budget")
    if why == "left":
        lines = _ranked(trial, [i for i, line in enumerate(trial.source.splitlines(), 1) if "exit" in line], near=True)
        return _made("FAULT", lines, "the design ends the program", "exit status 0 inside the call", test, "run")
    if why in LIMITS:
        said, much, most = LIMITS[why]
        lines = _ranked(trial, [i for i, line in enumerate(trial.source.splitlines(), 1) if _GREEDY[why].search(line)])
        return _made("FAULT", lines, said, much.format(most), test, "sandbox")
    kind, count, name = next(e for e in outcome.events if e[0] == why)
    lines = _ranked(trial, [*fault_of(outcome).frames, *_mentions(trial.source, name)], near=True)
    said = {
        "read-empty": f"stream '{name}' is read when it is empty: hardware waits for ever",
        "write-full": f"stream '{name}' is written when its {count} places are full",
        "leftover": f"{count} elements of stream '{name}' are never read: the next call meets them",
    }.get(kind, f"{name}: {kind}")
    return _made("DEADLOCK", lines, said, f"event {kind}", test, "streams")


def _most(trial: Trial) -> int:
    return max((o.steps for o in (trial.expected or {}).values()), default=0)


def _mentions(source: str, name: str) -> list[int]:
    return [i for i, line in enumerate(source.splitlines(), 1) if f"{name}.read" in line or f"{name}.write" in line]


def _of_fault(trial: Trial, fault: Fault, test: Test, outcome: Outcome) -> Finding:
    kind, lines = fault.kind, list(fault.frames)
    if fault.poisoned:  # the index or the value is what the compiler fills variables with
        kind, lines = "INIT", [*_warned(trial), *lines, *uninitialised(trial.source)]
    elif kind == "OOB" and lines:
        lines = [*around_access(trial.source, lines[0]), *lines[1:]]
    elif not lines:
        lines = spectrum(trial.program, [outcome], [])
    return _made(kind, _ranked(trial, lines, near=True), fault.message, _frames(fault), test, "sanitizer")


def _frames(fault: Fault) -> str:
    return "line " + " ← ".join(map(str, fault.frames)) if fault.frames else "no line of the design on the stack"


def _warned(trial: Trial) -> list[int]:
    """Where what the compiler calls uninitialised is declared, then where it is used."""
    told = [d for d in trial.warnings if "uninitialized" in d.option and d.file == "design.cpp"]
    names = {match[1] for d in told if (match := re.match(r"\W*(\w+)", d.message))}
    declared = [i for i in uninitialised(trial.source)
                if names & set(re.findall(r"\w+", trial.source.splitlines()[i - 1]))]  # fmt: skip
    return [*declared, *(d.line for d in told)]


def uninitialised_values(trial: Trial, poisoned: Sequence[Outcome], zeroed: Sequence[Outcome]) -> Finding | None:
    """The first test whose outputs depend on what uninitialised variables hold."""
    found = {outcome.index: outcome for outcome in zeroed}
    for outcome in poisoned:
        other = found.get(outcome.index)
        if other is None or outcome.end != "done" or other.end != "done":
            continue
        seen = first_difference(outcome, other, trial.contract)
        if seen is not None:
            return _of_uninitialised(trial, outcome, seen)
    return None


def _of_uninitialised(trial: Trial, outcome: Outcome, seen: Difference) -> Finding:
    lines = _ranked(trial, [*_warned(trial), *uninitialised(trial.source)])
    evidence = f"{_at(seen)} is {seen.got} when variables start as 0xFE bytes and {seen.expected} when they start as 0"
    message = "an output depends on a variable that nothing was written to"
    return _made("INIT", lines, message, evidence, trial.tests[outcome.index], "auto-initialisation")


def _at(seen: Difference) -> str:
    return f"{seen.port}[{seen.element}]" if seen.element >= 0 else seen.port


def differing(trial: Trial, outcomes: Sequence[Outcome]) -> list[tuple[Outcome, Difference]]:
    """Tests whose outputs are not the oracle's."""
    out = []
    for outcome in outcomes:
        expected = (trial.expected or {}).get(outcome.index)
        if expected is None or outcome.end != "done":
            continue
        if (seen := first_difference(outcome, expected, trial.contract)) is not None:
            out.append((outcome, seen))
    return out


def of_difference(
    trial: Trial, wrong: Sequence[tuple[Outcome, Difference]], outcomes: Sequence[Outcome], test: Test, seen: Difference
) -> Finding:
    """The finding for outputs that are not the oracle's."""
    failed = [outcome for outcome, _ in wrong]
    passed = [
        o for o in outcomes if o.end == "done" and o not in failed and trial.expected and o.index in trial.expected
    ]
    ranked = spectrum(trial.program, failed, passed) if passed else []
    slice_ = _writers(trial.source, seen.port)
    suspects = [line for line in ranked if line in slice_] or slice_ or ranked
    shift = next((watched(o, "shift") for o in failed if o.shifts), None)
    shifted = shift is not None and not any(o.shifts for o in passed)
    lines = _ranked(trial, [*(shift.frames[:1] if shift and shifted else ()), *suspects])
    changes = {line: (before, after) for line, before, after in trial.changes()}
    if lines and lines[0] in changes:
        kind = class_of_change(*changes[lines[0]], trial.source)
    else:
        kind = class_of_lines(trial.source, lines)
    if shifted and not changes:
        kind = "SHFT"
    if trial.expected and wrong and max(o.overflows for o in failed) > 0 and kind == "MISMATCH":
        kind = "OVERFLOW"
    share = f"{len(wrong)} of {len(trial.expected or {})} tests differ from the oracle"
    return _made(kind, lines, str(seen), share, test, "differential")


def _writers(source: str, port: str) -> list[int]:
    """Lines that assign to a port, then those that assign to what these lines use, and so on: nearest first."""
    assigned = list(_assignments(source))
    wanted, order = {port}, []
    for _ in range(4):
        found = [(line, used) for line, name, used in assigned if name in wanted and line not in order]
        order += [line for line, _ in found]
        wanted = set().union(*(used for _, used in found)) if found else set()
    return list(dict.fromkeys(order))


def _assignments(source: str) -> Iterator[tuple[int, str, set[str]]]:
    """Line, variable and the names its new value depends on, of every assignment and every first value but zero."""
    for node in walk(parse(source)):
        if node.type not in ("assignment_expression", "init_declarator", "call_expression"):
            continue
        if node.type == "call_expression":
            target, _, method = text(node.child_by_field_name("function")).partition(".")
            if method != "write":
                continue
            value = node.child_by_field_name("arguments")
        else:
            left = node.child_by_field_name("left") or node.child_by_field_name("declarator")
            target = text(next((n for n in walk(left) if n.type in ("identifier", "field_identifier")), None))
            value = node.child_by_field_name("right") or node.child_by_field_name("value")
        yield (
            line_of(node),
            target,
            {text(n) for n in walk(value) if n.type == "identifier"} if value is not None else set(),
        )


def _ranked(trial: Trial, lines: Sequence[int], near: bool = False) -> tuple[int, ...]:
    """At most three lines: those that differ from the reference's text first, the suspicious among them leading."""
    changed = [line for line, _, _ in trial.changes()]
    if near and changed:
        changed = sorted(changed, key=lambda line: (line not in lines, min((abs(line - x) for x in lines), default=0)))
    elif changed:
        changed = sorted(changed, key=lambda line: lines.index(line) if line in lines else len(lines))
    return tuple(dict.fromkeys([*changed, *lines]))[:3]


def _made(kind: str, lines: Sequence[int], message: str, evidence: str, test: Test, by: str) -> Finding:
    top = tuple(lines[:3])
    return Finding(kind, top[0] if top else 0, message, evidence, witness_of(test), top, by)


def witness_of(test: Test) -> dict[str, Any]:
    """A test as JSON: every port's elements per call."""
    return {"calls": [{name: list(values) for name, values in call.items()} for call in test]}


def overflowing(trial: Trial, outcomes: Sequence[Outcome]) -> Finding | None:
    """Fixed-point values that wrap around on inputs within the contract, without an oracle to say it is meant."""
    for outcome in outcomes:
        if outcome.overflows and outcome.end == "done":
            message = f"{outcome.overflows} fixed-point values wrap around: they do not fit their type"
            lines = _ranked(trial, watched(outcome, "overflow").frames)
            test = trial.tests[outcome.index]
            return _made("OVERFLOW", lines, message, "ap_fixed with AP_WRAP", test, "overflow watch")
    return None


def shifting(trial: Trial, outcomes: Sequence[Outcome]) -> Finding | None:
    """Shifts of `ap_` types by amounts outside their width, without an oracle to say that it does no harm."""
    for outcome in outcomes:
        if outcome.shifts and outcome.end == "done":
            fault, test = watched(outcome, "shift"), trial.tests[outcome.index]
            return _made("SHFT", _ranked(trial, fault.frames), fault.message, _frames(fault), test, "shift watch")
    return None
