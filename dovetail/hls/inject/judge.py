"""Run variants of a design on inputs of its contract and say which misbehave, on which input, and how."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from shutil import copyfile

from dovetail.core.errors import DovetailError
from dovetail.hls.compile import Build, compile_to, link
from dovetail.hls.design import Design
from dovetail.hls.inject.batch import HERE, program
from dovetail.hls.inject.inputs import Test, packed
from dovetail.hls.sandbox import Limits, run, workplace

CHECKS = ("address", "shift", "bounds", "integer-divide-by-zero", "signed-integer-overflow", "return", "bool")
BUILD = Build("-O0", CHECKS, extra=("-fno-sanitize=shift-base",))
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:symbolize=0:detect_stack_use_after_return=0:print_legend=0"
    ":allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=0:halt_on_error=1:symbolize=0",
}
RUN = Limits(wall_s=240.0, cpu_s=240.0, memory=2 << 30, output=16 << 20)
COMPILE = Limits(wall_s=240.0, cpu_s=240.0, memory=3 << 30, output=16 << 20)
AT_ONCE = 40
_UNDEFINED = re.compile(r"(m\d+|reference):(\d+):\d+: runtime error: (.*?)(?:  |$)")
_ADDRESS = re.compile(r"ERROR: AddressSanitizer: ([\w-]+)")
_EVENT = re.compile(r"dovetail-event: ([\w-]+) ?(\S*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one variant did.

    Parameters
    ----------
    end : str
        ``"done"``: all outputs right. Else ``"different"`` (a value), ``"count"`` (how many values), ``"budget"``
        (loops), ``"fault"`` (a sanitizer or a signal), ``"starved"`` (a read from an empty stream),
        ``"left"`` (the program ended), ``"time"``, ``"uncompiled"``, or ``"unrun"`` (a limit of the sandbox ended it:
        nothing is known).
    test : int
        The input on which it ended, -1 when all went through.
    detail : str
        What was seen: the value and the wanted one, the sanitizer's message, the stream's name.
    line : int
        The line of the variant in the sanitizer's message, 0 when there is none.
    unset : bool
        Whether what happened depends on what empty variables hold.
    leftover : bool
        Whether a stream inside was destroyed with elements in it.
    """

    end: str
    test: int = -1
    detail: str = ""
    line: int = 0
    unset: bool = False
    leftover: bool = False

    @property
    def wrong(self) -> bool:
        """Whether it misbehaved."""
        return self.end not in ("done", "uncompiled", "unrun") or self.unset or self.leftover


def judge(
    design: Design,
    variants: Sequence[str],
    tests: Sequence[Test],
    twice: Sequence[bool] = (),
    only: Sequence[int] = (),
    limits: Limits = RUN,
) -> list[Verdict]:
    """Compile and run variants, many in one program.

    Parameters
    ----------
    design : Design
        Contract and oracle; its source is run beside the variants.
    variants : sequence of str
        Texts to judge.
    tests : sequence of Test
        Inputs.
    twice : sequence of bool
        Which variants run a second time with other garbage in empty variables; none when empty.
    only : sequence of int
        The one test each variant runs on; all when empty.
    limits : Limits
        What one program of up to `AT_ONCE` variants may use; those it did not come to are run in a program of theirs.

    Raises
    ------
    DovetailError
        The design itself does not compile, or misbehaves.
    """
    again = list(twice) or [False] * len(variants)
    alone = list(only) or [-1] * len(variants)
    out: list[Verdict] = []
    for first in range(0, len(variants), AT_ONCE):
        part = list(variants[first : first + AT_ONCE])
        out += _judge(design, part, tests, again[first : first + AT_ONCE], alone[first : first + AT_ONCE], limits)
    return out


def _judge(
    design: Design, variants: list[str], tests: Sequence[Test], twice: list[bool], only: list[int], limits: Limits
) -> list[Verdict]:
    alive = list(range(len(variants)))
    verdicts = [Verdict("uncompiled")] * len(variants)
    name = design.name or design.contract.top
    with workplace() as work:
        for header in ("witness.h", "witness_main.h"):
            copyfile(HERE / header, work / header)
        while True:
            texts = [design.source, *(variants[i] for i in alive)]
            fills = [2, *(2 if twice[i] else 1 for i in alive)]
            (work / "w.cpp").write_text(program(design, texts, fills, [-1, *(only[i] for i in alive)], len(tests)))
            done = compile_to(work / "w.cpp", work / "w.o", BUILD, limits=COMPILE, warnings=("-w", "-fmax-errors=0"))
            if done.output is not None:
                break
            bad = {int(d.file[1:]) for d in done.errors if re.fullmatch(r"m\d+", d.file)}
            if not bad - {0} or 0 in bad:
                first = done.errors[0] if done.errors else None
                raise DovetailError(
                    "does not compile", where=name, why=f"{first.file}:{first.line}: {first.message}" if first else ""
                )
            alive = [i for place, i in enumerate(alive, 1) if place not in bad]
        made = link([work / "w.o"], work / "w", BUILD)
        if made.output is None:
            raise DovetailError("does not link", where=name, why=made.errors[0].message if made.errors else "")
        ran = run([work / "w"], work, limits, env=ENVIRONMENT, stdin=packed(tuple(tests)))
    told = list(_told(ran.out))
    if ran.code == 3 or not told or told[0][0] != 0:
        raise DovetailError("its reference fails on inputs of its contract", where=name, why=(ran.out + ran.err)[-300:])
    clean = _verdict([line for line in told if line[0] == 0])
    if clean.wrong:
        raise DovetailError(
            "the clean design misbehaves", where=name, why=f"{clean.end} on test {clean.test}: {clean.detail}"
        )
    missed = []
    for place, i in enumerate(alive, 1):
        lines = [line for line in told if line[0] == place]
        verdicts[i] = _verdict(lines) if lines else Verdict("unrun", -1, ran.stopped or "no answer")
        missed += [] if lines else [i]
    if missed == alive or ran.stopped not in ("", "time"):  # the first of them is what the limit stopped
        missed = missed[1:]
    if missed:
        parts = [variants[i] for i in missed], tests, [twice[i] for i in missed], [only[i] for i in missed]
        for i, verdict in zip(missed, _judge(design, *parts, limits)):
            verdicts[i] = verdict
    return verdicts


def _told(out: str) -> Iterator[tuple[int, int, int, int, int, int, float, float, int, int, str]]:
    for line in out.splitlines():
        f = line.split("\t")
        if len(f) >= 11:
            yield (
                int(f[0]),
                int(f[1]),
                int(f[2]),
                int(f[3]),
                int(f[4]),
                int(f[5]),
                float(f[6]),
                float(f[7]),
                int(f[8]),
                int(f[9]),
                "\t".join(f[10:]),
            )


def _verdict(lines: Sequence[tuple[int, int, int, int, int, int, float, float, int, int, str]]) -> Verdict:
    runs = [_run(line) for line in lines]
    first = next((r for r in runs if r.wrong), runs[0])
    seen = {
        (line[2], line[4], line[5], line[6] if line[2] == 71 else 0.0, line[9] if line[2] == 0 else 0, _said(line[10]))
        for line in lines
    }
    unset = len(seen) > 1
    return Verdict(first.end, first.test, first.detail, first.line, unset, first.leftover)


def _said(text: str) -> str:
    found = _UNDEFINED.search(text)
    return found[3] if found else ""


def _run(line: tuple[int, int, int, int, int, int, float, float, int, int, str]) -> Verdict:
    _, _, status, _, test, at, got, want, ticks, _, said = line
    leftover = "dovetail-event: leftover" in said
    if status == 0:
        return Verdict("done", test if leftover else -1, said[:120] if leftover else "", leftover=leftover)
    if status == 71:
        return Verdict("different", test, f"value {at} is {got:.9g}, not {want:.9g}", leftover=leftover)
    if status == 72:
        return Verdict("count", test, f"{got:.0f} values come out, not {want:.0f}", leftover=leftover)
    if status == 73:
        return Verdict("budget", test, f"{ticks} loop steps and no end", leftover=leftover)
    if event := _EVENT.search(said):
        return Verdict("starved", test, f"{event[1]} {event[2]}".strip(), leftover=leftover)
    if undefined := _UNDEFINED.search(said):
        return Verdict("fault", test, undefined[3].strip(), int(undefined[2]))
    if address := _ADDRESS.search(said):
        return Verdict("fault", test, f"AddressSanitizer: {address[1]}")
    if status == -14:
        return Verdict("time", test, "5 s and no end")
    return Verdict("fault" if status < 0 else "left", test, f"signal {-status}" if status < 0 else said[:160])
