"""`check`: compile, lint, run under sanitizers, compare with the oracle; what was found and what was not tried."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.hls.check.agreed import agreed, written_inputs
from dovetail.hls.check.compare import Difference, first_difference
from dovetail.hls.check.dynamic import (
    Trial,
    bad_end,
    differing,
    ended_badly,
    of_difference,
    overflowing,
    shifting,
    uninitialised_values,
)  # fmt: skip
from dovetail.hls.check.infer import infer
from dovetail.hls.check.locate import located
from dovetail.hls.check.oracle import python_outcomes, testbench_finding
from dovetail.hls.check.report import Finding, Report
from dovetail.hls.check.shrink import Test, shrink
from dovetail.hls.check.static import static_findings
from dovetail.hls.check.stimulus import stimuli
from dovetail.hls.check.suspects import executed
from dovetail.hls.compile import PROBE, ZEROED, Compiled, Diagnostic
from dovetail.hls.design import Contract, Design, plain
from dovetail.hls.harness import Outcome, Program, Shape, build_program
from dovetail.hls.sandbox import workplace
from dovetail.hls.signature import parse, top_function

LONGEST = 4 << 20  # bytes of source
TESTS = 32


@dataclass(slots=True)
class _Run:
    """One check under way."""

    design: Design
    work: Path
    findings: list[Finding] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=dict)
    tests: int = 0
    compile_s: float = 0.0  # of CPU that the design took
    ran: set[int] = field(default_factory=set)  # lines that ran, under sanitizers, without a fault

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.stages[name] = self.stages.get(name, 0.0) + time.monotonic() - began


def check(design: Design, *, tests: int = TESTS, static: bool = True) -> Report:
    """Check a design.

    Parameters
    ----------
    design : Design
        Source, top and, where there are any, ports and an oracle. A contract without ports is inferred: on the
        oracle when that is C++, else on the design itself, which hides what the design does on every input.
    tests : int
        Calls to try; fewer where the arrays are large.
    static : bool
        Whether pragma lint and cppcheck run too.

    Returns
    -------
    Report
        `limits` says what could not be checked.

    Raises
    ------
    DovetailError
        The text is not C++ or holds no such top, the top is a template without an instance, the contract contradicts
        the text, or there is no compiler.
    """
    began = time.monotonic()
    _readable(design)
    with workplace() as work:
        state = _Run(design, work)
        contract = _checked(state, tests, static)
    settled = {f.kind for f in state.findings if f.by != "cppcheck"}
    kept = [f for f in state.findings if f.by != "cppcheck" or (f.kind not in settled and f.line not in state.ran)]
    ordered = sorted(kept, key=lambda finding: finding.by in ("pragma lint", "cppcheck"))
    name = str(design.path or design.name or "design")
    return Report(name, contract.top, tuple(ordered), tuple(state.limits), plain(contract), state.tests,
                  time.monotonic() - began, state.stages)  # fmt: skip


def _readable(design: Design) -> None:
    where = str(design.path or design.name)
    if len(design.source) > LONGEST:
        raise DovetailError("too long to check", where=where, why=f"{len(design.source):,} bytes; at most {LONGEST:,}",
                            hint="give the translation unit of the top function")  # fmt: skip
    if "\0" in design.source or not parse(design.source).named_children:
        raise DovetailError("not C++", where=where, hint="give an HLS C++ file")
    top_function(design.source, design.contract.top)


def _checked(state: _Run, tests: int, static: bool) -> Contract:
    signature = top_function(state.design.source, state.design.contract.top)
    design = replace(state.design, contract=replace(state.design.contract, top=signature.name))
    if static:
        with state.stage("static"):
            found, limits = static_findings(design, state.work)
            state.findings += found
            state.limits += limits
    with state.stage("compile"):
        program, made = build_program(design, state.work, "design", PROBE)
    state.compile_s = made.ran.cpu_s if made.ran is not None else 0.0
    if made.missing:
        state.limits.append(f"includes that were not found are left out: {', '.join(made.missing)}")
    if program is None:
        _uncompiled(state, made)
        return design.contract
    try:
        shapes = program.shapes()
    except DovetailError as error:
        state.findings.append(Finding("FAULT", 0, error.what, error.why, None, (), "run"))
        return design.contract
    return _run(state, design, program, shapes, tests)


def _uncompiled(state: _Run, made: Compiled) -> None:
    """A text that does not compile: a finding, unless that is for want of its headers."""
    state.limits.append("nothing was run: only the text was checked")
    if made.ran is not None and made.ran.stopped:
        state.limits.append(f"the compiler was stopped ({made.ran.stopped}): the text is too much for it")
        return
    first = next(iter(made.errors), Diagnostic("", 0, 0, "error", "the compiler said nothing"))
    said = f"does not compile: {first.message}"
    if made.missing:
        state.limits.append(f"{said}, perhaps for want of those includes")
        return
    line = first.line if first.file.endswith("design.cpp") else 0
    state.findings.append(Finding("COMPILE", line, said, f"g++: {len(made.errors)} errors", None, (line,), "compiler"))


def _run(state: _Run, design: Design, program: Program, shapes: Sequence[Shape], tests: int) -> Contract:
    reference, reference_program = _reference(state, design)
    contract = _contract(state, design, program, shapes, reference, reference_program)
    stimulus = stimuli(contract, tests)
    with state.stage("oracle"):
        expected = _expected(state, design, contract, stimulus, reference_program)
    trial = Trial(program, contract, design.source, stimulus, expected, reference)
    with state.stage("run"):
        outcomes, ran = program.run(stimulus, budget=trial.budget, failures=2)
    state.tests = len(outcomes)
    if design.contract.ports:
        for name in written_inputs(contract, stimulus, outcomes):
            state.limits.append(f"the contract says that '{name}' is only read, the code writes it: it is not compared")
    if not outcomes:
        said = f"stopped: {ran.stopped}" if ran.stopped else f"exit status {ran.code}"
        state.findings.append(Finding("FAULT", 0, "the program ends without an answer", said, None, (), "run"))
        return contract
    with state.stage("shrink"):
        bad = ended_badly(trial, outcomes)
    if bad is not None:
        state.findings.append(_placed(state, trial, design, outcomes, bad))
    else:
        if any(finding.by == "cppcheck" for finding in state.findings):
            state.ran = set().union(*executed(program, outcomes))
        _values(state, trial, design, outcomes, reference_program)
    if design.oracle and design.oracle.kind == "testbench":
        with state.stage("test bench"):
            state.findings += testbench_finding(design, state.work, state.limits)
    return contract


def _reference(state: _Run, design: Design) -> tuple[str, Program | None]:
    """The oracle's program where it is C++, built to be probed when there is no contract yet."""
    oracle = design.oracle
    if oracle is None:
        state.limits.append("no reference: wrong values that no sanitizer sees stay hidden")
        return "", None
    if oracle.kind != "cpp":
        return "", None
    called = replace(design.contract, top=oracle.function or design.contract.top)
    twin = replace(design, source=oracle.source, contract=called, path=oracle.path or design.path)
    with state.stage("compile reference"):
        program, made = build_program(twin, state.work, "reference", ZEROED if design.contract.ports else PROBE)
    if program is None:
        first = next(iter(made.errors), None)
        raise DovetailError("the reference does not compile", where=str(oracle.path or "reference"),
                            why=first.message if first else "the compiler was stopped",
                            hint="give a reference that stands alone")  # fmt: skip
    return oracle.source, program


def _contract(
    state: _Run, design: Design, program: Program, shapes: Sequence[Shape], text: str, reference: Program | None
) -> Contract:
    if design.contract.ports:
        return agreed(design, program, shapes)
    with state.stage("contract"):
        if reference is not None:
            probed = infer(reference, reference.shapes(), text, design.contract.call)
        else:
            probed = infer(program, shapes, design.source, design.contract.call)
    state.limits += probed.doubts
    return replace(probed.contract, top=design.contract.top, calls=design.contract.calls,
                   budget=design.contract.budget, leftovers=design.contract.leftovers)  # fmt: skip


def _expected(
    state: _Run, design: Design, contract: Contract, tests: Sequence[Test], reference: Program | None
) -> dict[int, Outcome] | None:
    """What the oracle says of each test that it can take itself."""
    if reference is not None:
        outcomes, _ = reference.run(_renamed(tests, contract, reference), budget=contract.budget)
        good = {o.index: o for o in outcomes if o.end == "done" and not bad_end(o, leftovers=True)}
        if not good:
            state.limits.append("the reference itself fails on every input of the contract")
        return good
    if design.oracle and design.oracle.kind == "python":
        return python_outcomes(design, contract, tests, state.work)
    return None


def _renamed(tests: Sequence[Test], contract: Contract, program: Program) -> list[Test]:
    """The tests under the names the reference gives its parameters."""
    names = [p.name for p in program.signature.parameters]
    if names == [p.name for p in contract.ports]:
        return list(tests)
    if len(names) != len(contract.ports):
        raise DovetailError("the reference takes other arguments", why=f"{len(names)} for {len(contract.ports)}",
                            hint="give a reference of the same signature")  # fmt: skip
    pairs = list(zip(names, (p.name for p in contract.ports)))
    return [[{ours: call[theirs] for ours, theirs in pairs} for call in test] for test in tests]


def _values(state: _Run, trial: Trial, design: Design, outcomes: Sequence[Outcome], reference: Program | None) -> None:
    """Every call ended well: look at what came out."""
    wrong = differing(trial, outcomes)
    if trial.expected and not wrong:
        return
    with state.stage("compile zeroed"):
        flags = ("-Wall", "-Wuninitialized", "-Wmaybe-uninitialized")
        zeroed, made = build_program(design, state.work, "zeroed", ZEROED, flags)
    if zeroed is None:
        return
    with state.stage("run"):
        calm, _ = zeroed.run(trial.tests, budget=trial.budget)
    trial = replace(trial, warnings=made.diagnostics)
    unset = uninitialised_values(trial, outcomes, calm)
    if unset is not None:
        state.findings.append(_placed(state, trial, design, outcomes, unset))
    elif wrong:
        with state.stage("shrink"):
            found = _difference(trial, wrong, outcomes, reference)
        state.findings.append(_placed(state, trial, design, outcomes, found))
    elif (watch := shifting(trial, outcomes) or overflowing(trial, outcomes)) is not None:
        state.findings.append(watch)


def _placed(state: _Run, trial: Trial, design: Design, outcomes: Sequence[Outcome], finding: Finding) -> Finding:
    with state.stage("locate"):
        return located(trial, design, state.work, outcomes, finding, state.compile_s)


def _difference(
    trial: Trial, wrong: Sequence[tuple[Outcome, Difference]], outcomes: Sequence[Outcome], reference: Program | None
) -> Finding:
    """The finding for outputs that differ, with its counter-example shrunk where the oracle can be asked again."""
    outcome, seen = wrong[0]
    test = trial.tests[outcome.index]
    if reference is not None:
        test = shrink(
            test, trial.contract, lambda tests: [d is not None for d in _differences(trial, reference, tests)]
        )
        seen = _differences(trial, reference, [test])[0] or seen
    return of_difference(trial, wrong, outcomes, test, seen)


def _differences(trial: Trial, reference: Program, tests: Sequence[Test]) -> list[Difference | None]:
    """Per test, where the design and the reference differ; None where they agree or either does not end well."""
    ours, _ = trial.program.run(tests, budget=trial.budget, symbols=False)
    theirs, _ = reference.run(_renamed(tests, trial.contract, reference), budget=trial.contract.budget, symbols=False)
    pairs = {o.index: o for o in ours if o.end == "done"}, {o.index: o for o in theirs if o.end == "done"}
    return [first_difference(pairs[0][i], pairs[1][i], trial.contract) if i in pairs[0] and i in pairs[1] else None
            for i in range(len(tests))]  # fmt: skip
