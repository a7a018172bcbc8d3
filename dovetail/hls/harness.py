"""A design as a test program: many calls with given inputs, each in a process of its own, and all that was seen.

The program's text depends on the signature alone; extents, stream lengths and values come in at run time, so one
compilation serves probing, testing and shrinking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.hls.compile import Build, Compiled, compile_to, link, missing_includes, runtime
from dovetail.hls.design import Contract, Design
from dovetail.hls.flags import flags_raised
from dovetail.hls.sandbox import Limits, Ran, run
from dovetail.hls.signature import Signature, top_function

Value = int | float | str
Call = Mapping[str, Sequence[Value]]  # what each port holds before one call
RUN = Limits(wall_s=15.0, cpu_s=15.0, memory=1 << 30, output=4 << 20, file=64 << 20)
OVER_BUDGET, STOPPED = 77, 78
_SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0:max_allocation_size_mb=512:handle_abort=1"
    ":allocator_may_return_null=1:hard_rss_limit_mb=900",
    "UBSAN_OPTIONS": "print_stacktrace=1",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What the compiler says about a port: `kind` A array, P one element, S stream; `elements` 0 when unknown."""

    kind: str
    elements: int
    leaves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One test: how it ended and what came out.

    Parameters
    ----------
    index : int
        The test's number.
    end : str
        ``"done"``, ``"fault"`` (a sanitizer or a signal), ``"budget"``, ``"event"``, ``"time"``, ``"left"``
        (the design ended the program itself), or ``"memory"``, ``"output"``, ``"disk"``: a limit of the sandbox.
    outputs : tuple of dict
        Per call: what each port held after it, by the port's place (-1 is the returned value), as text.
    events : tuple of (kind, count, name)
        What the stand-in headers reported: ``read-empty``, ``write-full``, ``leftover``, …
    steps : int
        Basic blocks executed.
    blocks, late : dict
        Executions by code address: of the whole test, and of the last part before the budget ran out.
    overflows, shifts : int
        Fixed-point values that wrapped around; shifts of ``ap_`` types by an amount outside their width.
    stderr : str
        What was printed there, sanitizer reports included.
    choice : int
        Which variant of the text ran, where it holds several.
    """

    index: int
    end: str
    outputs: tuple[dict[int, tuple[str, ...]], ...] = ()
    events: tuple[tuple[str, int, str], ...] = ()
    steps: int = 0
    blocks: Mapping[int, int] = field(default_factory=dict, repr=False)
    late: Mapping[int, int] = field(default_factory=dict, repr=False)
    overflows: int = 0
    stderr: str = field(default="", repr=False)
    choice: int = 0
    shifts: int = 0


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled test program of one design in a workplace."""

    path: Path
    signature: Signature
    build: Build
    source: Path
    missing: tuple[str, ...] = ()

    def shapes(self) -> tuple[Shape, ...]:
        """What the compiler says about each port. Raises `DovetailError` where the program ends before it can say."""
        ran = run([self.path], self.path.parent, RUN, env=_SANITIZERS)
        rows = [line.split(maxsplit=4) for line in ran.out.splitlines() if line.startswith("port ")]
        if len(rows) != len(self.signature.parameters):
            why = f"stopped: {ran.stopped}" if ran.stopped else f"exit status {ran.code}"
            raise DovetailError(f"the program ends before '{self.signature.name}' is called", where=self.source.stem,
                                why=why, hint="look at what globals are initialised with")  # fmt: skip
        return tuple(Shape(row[2], int(row[3]), tuple(row[4].split()) if len(row) > 4 else ()) for row in rows)

    def run(
        self,
        tests: Sequence[Sequence[Call]],
        *,
        budget: int,
        failures: int = 1 << 30,
        seconds: float = 4.0,
        enforce: bool = False,
        symbols: bool = True,
        limits: Limits = RUN,
        choices: Sequence[int] = (0,),
    ) -> tuple[list[Outcome], Ran]:
        """Run tests, each a sequence of calls; the rest is left out after `failures` tests ended badly.

        Parameters
        ----------
        tests : sequence of sequence of Call
            A call gives every port its elements (numbers, or the texts a former run printed).
        budget : int
            Basic blocks one test may execute.
        seconds : float
            CPU seconds one test may take.
        enforce : bool
            Whether a write to a full stream ends the test.
        symbols : bool
            Whether sanitizers name lines; runs of which only the end matters go without, ten times faster.
        choices : sequence of int
            Each test runs once for each: the variants of a text that looks at ``dovetail::state().choice``.
        """
        work = self.path.parent
        given, said = work / f"{self.path.name}.in", work / f"{self.path.name}.out"
        given.write_text(encode(tests, self.signature, budget, failures, seconds, enforce, choices))
        said.write_text("")
        said.chmod(0o666)
        env = {name: f"{options}:symbolize={int(symbols)}" for name, options in _SANITIZERS.items()}
        ran = run([self.path, given, said], work, limits, env=env)
        answer = said.read_text(errors="replace") if said.is_file() else ""  # the program may have taken it away
        return list(outcomes(answer, ran)), ran


def encode(
    tests: Sequence[Sequence[Call]],
    signature: Signature,
    budget: int,
    failures: int,
    seconds: float,
    enforce: bool,
    choices: Sequence[int] = (0,),
) -> str:
    """The tests as the driver reads them."""
    which = f"{len(choices)} {' '.join(map(str, choices))}"
    parts = [f"{seconds:g} {budget} {failures} {int(enforce)}\n"]
    for index, calls in enumerate(tests):
        body = "".join(_ports(call, signature) for call in calls)
        parts.append(f"T {index} {len(body)} {len(calls)} {which}\n{body}")
    return "".join(parts)


def _ports(call: Call, signature: Signature) -> str:
    lines = []
    for parameter in signature.parameters:
        values = call[parameter.name]
        leaves = getattr(values, "leaves", 1)
        lines.append(f"{len(values) // leaves} {' '.join(map(str, values))}\n")
    return "".join(lines)


class Elements(tuple[Value, ...]):
    """Values of elements that have several leaves each (structs, packets), one after the other."""

    leaves: int = 1

    @classmethod
    def of(cls, values: Sequence[Value], leaves: int) -> Elements:
        made = cls(values)
        made.leaves = max(leaves, 1)
        return made


def outcomes(said: str, ran: Ran) -> Iterator[Outcome]:
    """The tests in a driver's output, the one it was stopped in included."""
    errors = dict(_errors(ran.err))
    for block in re.split(r"^test ", said, flags=re.MULTILINE)[1:]:
        head, _, body = block.partition("\n")
        index, choice = (int(word) for word in head.split())
        made = _outcome(index, body.splitlines(), errors.get((index, choice), ""), ran.stopped)
        yield replace(made, choice=choice)


def _errors(text: str) -> Iterator[tuple[tuple[int, int], str]]:
    for block in text.split("@@test ")[1:]:
        head, _, body = block.partition("\n")
        index, _, choice = head.partition(" ")
        if index.isdigit() and choice.isdigit():  # a design may print such words itself
            yield (int(index), int(choice)), body


def _outcome(index: int, lines: Sequence[str], stderr: str, stopped: str) -> Outcome:
    calls: list[dict[int, tuple[str, ...]]] = []
    events: list[tuple[str, int, str]] = []
    found: dict[str, dict[int, int]] = {"blocks": {}, "late": {}}
    steps = overflows = shifts = 0
    code: int | None = None
    for line in lines:
        key, _, rest = line.partition(" ")
        if key == "call":
            calls.append({})
        elif key == "out" and calls:
            place, *values = rest.split()
            calls[-1][int(place)] = tuple(values)
        elif key == "event":
            kind, count, name = [*rest.split(maxsplit=2), "-"][:3]
            events.append((kind, int(count), name))
        elif key == "steps":
            steps = int(rest)
        elif key == "overflows":
            overflows = int(rest)
        elif key == "shifts":
            shifts = int(rest)
        elif key in found:
            found[key] = dict(_counts(rest))
        elif key == "end":
            code = int(rest.split()[1])
    end = stopped if code is None and stopped else _end(code, steps)
    return Outcome(index, end, tuple(calls), tuple(events), steps, found["blocks"], found["late"], overflows, stderr,
                   shifts=shifts)  # fmt: skip


def _counts(rest: str) -> Iterator[tuple[int, int]]:
    for pair in rest.split():
        address, _, count = pair.partition(":")
        yield int(address, 16), int(count)


def _end(code: int | None, steps: int) -> str:
    if code is None or code in (-24, -9):  # SIGXCPU, and what follows it
        return "time"
    if code == 0:
        return "done" if steps else "left"
    return {OVER_BUDGET: "budget", STOPPED: "event"}.get(code, "fault")


def program_text(source: str, signature: Signature, contract: Contract) -> str:
    """The C++ of a test program: the design between a guard around its `main` and generated calls of the top."""
    ports = range(len(signature.parameters))
    lines = [f"typedef dovetail::Port<{p.ctype}, {str(p.many).lower()}> DovetailPort{i};"
             for i, p in enumerate(signature.parameters)]  # fmt: skip
    fills = "".join(f' p{i}.fill("{p.name or i}");' for i, p in enumerate(signature.parameters))
    arguments = ", ".join(f"p{i}" for i in ports)
    call = f"{contract.call or signature.name}({arguments})"
    value = signature.returns not in ("void", "")
    body = f"{call}; dovetail::end();"
    if value:
        body = f"auto dovetail_value = {call}; dovetail::end(); dovetail::put_value(dovetail_value);"
    puts = "".join(f" p{i}.put({i});" for i in ports)
    holders = "".join(f" DovetailPort{i} p{i};" for i in ports)
    shapes = "".join(f"    dovetail::describe<DovetailPort{i}>({i}, {_elements(p.extents, p.ctype)});\n"
                     for i, p in enumerate(signature.parameters))  # fmt: skip
    return "\n".join([
        '#include "dovetail_driver.h"',
        "#define main dovetail_design_main", '#line 1 "design.cpp"', source, "#undef main",
        '#line 1 "driver"', *lines,
        "static void dovetail_test(long calls) {", "    for (long c = 0; c < calls; c++) {",
        f"       {holders}", f"       {fills}", '        fputs("call\\n", dovetail::state().out);',
        f"        dovetail::begin(); {body}", f"       {puts}", "    }", "}",
        f"static void dovetail_shapes() {{\n{shapes}}}",
        "int main(int argc, char **argv) { return dovetail::main_of(argc, argv, dovetail_test, dovetail_shapes); }", "",
    ])  # fmt: skip


def _elements(extents: Sequence[str], ctype: str) -> str:
    sized = [extent for extent in extents if extent]
    if len(sized) < len(extents):
        return "0"
    if not sized:
        return f"dovetail::elements_of<{ctype}>()"
    return " * ".join(f"static_cast<long>({extent})" for extent in sized)


def build_program(
    design: Design,
    work: Path,
    name: str,
    build: Build,
    warnings: Sequence[str] = ("-w",),
    *,
    bare: bool = True,
    signature: Signature | None = None,
) -> tuple[Program | None, Compiled]:
    """Compile a design to a test program in a workplace; None, with the reasons, when it does not compile.

    Includes that are nowhere to be found are left out and named in `Program.missing`. `bare` as in `compile_to`;
    `signature` is the top's where it is known already.

    Raises
    ------
    DovetailError
        There is no such top, or it is a template and the contract does not say which instance.
    """
    signature = signature or top_function(design.source, design.contract.top)
    if signature.template and not design.contract.call:
        raise DovetailError(f"'{signature.name}' is a template", where=str(design.path or design.name),
                            why=f"its parameters {', '.join(signature.template)} have no values",
                            hint=f"--call '{signature.name}<…>' says which instance to check")  # fmt: skip
    folders = [design.path.resolve().parent] if design.path else []
    folders += [path.resolve() for path in design.includes]
    for header, held in design.headers:
        _write(work / header, held)
    missing = missing_includes(design.source, [work, *folders])
    file = work / f"{name}.cpp"
    source = without_includes(design.source, missing)
    source = flags_raised(source) if build.init == "pattern" else source
    file.write_text(program_text(source, signature, design.contract))
    made = compile_to(file, work / f"{name}.o", build, includes=folders, warnings=warnings, bare=bare)
    if made.output is None:
        return None, Compiled(None, made.diagnostics, missing, made.ran)
    linked = link([made.output, runtime(build)], work / name, build)
    program = Program(linked.output, signature, build, file, missing) if linked.output else None
    return program, Compiled(linked.output, (*made.diagnostics, *linked.diagnostics), missing, made.ran)


def _write(path: Path, held: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(held)


def without_includes(source: str, names: Sequence[str]) -> str:
    """The text with the includes of these headers left out; every line keeps its number."""
    for name in names:
        source = re.sub(rf'^(\s*)#\s*include\s*[<"]{re.escape(name)}[>"].*$', r"\1", source, flags=re.MULTILINE)
    return source
