"""What a sanitizer's report means: the class of bug, the line of the design, and one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dovetail.hls.harness import Outcome

_FRAME = re.compile(r"^\s*#\d+ 0x[0-9a-f]+ in (?P<function>.*?) (?P<file>\S*?design\.cpp):(?P<line>\d+)", re.MULTILINE)
_UBSAN = re.compile(r"design\.cpp:(\d+):\d+: runtime error: (.*)")
_ANY_UBSAN = re.compile(r"runtime error: (.*)")
_ASAN = re.compile(r"ERROR: AddressSanitizer: ([\w-]+)")
_ACCESS = re.compile(r"^(READ|WRITE) of size (\d+)", re.MULTILINE)
_FILLED = (-16843010, 4278124286, -72340172838076674, 18374403900871474942)  # 0xFE bytes as 32 and 64 bits
_NEAR = 1 << 16  # what is added to an uninitialised index before it is used
_RANGE = re.compile(
    r"^(?:ERROR|WARNING): (.*(?:out ?of ?bound|out of range|beyond MSB).*)$", re.MULTILINE | re.IGNORECASE
)


_WATCH = re.compile(r"^@@(overflow|shift)\n(.*?)^@@watched\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """One report: class, message, and the design's lines on the stack, innermost first."""

    kind: str
    message: str
    frames: tuple[int, ...] = ()
    poisoned: bool = False


def fault_of(outcome: Outcome) -> Fault:
    """The fault that ended a test."""
    text = _WATCH.sub("", outcome.stderr)
    frames = tuple(dict.fromkeys(int(match["line"]) for match in _FRAME.finditer(text)))
    poisoned = _poisoned(text)
    if match := _ANY_UBSAN.search(text):
        placed = _UBSAN.search(text)
        if placed:
            frames = tuple(dict.fromkeys((int(placed[1]), *frames)))
        return Fault(_undefined(match[1]), match[1].strip(), frames, poisoned)
    if match := _RANGE.search(text):
        return Fault("OOB", f"bit range: {match[1].strip()}", frames)
    if match := _ASAN.search(text):
        return _address(match[1], text, frames, poisoned)
    return Fault("FAULT", "the design crashed", frames)


def watched(outcome: Outcome, kind: str) -> Fault:
    """What was watched and did not end the test, ``overflow`` or ``shift``: what was said, and where."""
    text = next((match[2] for match in _WATCH.finditer(outcome.stderr) if match[1] == kind), "")
    frames = tuple(dict.fromkeys(int(match["line"]) for match in _FRAME.finditer(text)))
    said = text.partition("\n")[0].strip()
    return Fault("SHFT" if kind == "shift" else "OVERFLOW", said, frames, _poisoned(f"runtime error: {said}"))


def _poisoned(text: str) -> bool:
    """Whether a report names a value that an uninitialised variable leads to."""
    said = " ".join(re.findall(r"runtime error: .*|on (?:unknown )?address 0x[0-9a-f]+", text))
    numbers = [int(word) for word in re.findall(r"-?\b\d{6,}\b", said)]
    small = re.search(r"index -2(?:58|57)?\b|value 254\b|fefefe", said) is not None
    return small or any(abs(number - filled) <= _NEAR for number in numbers for filled in _FILLED)


def _undefined(message: str) -> str:
    if "shift" in message:
        return "SHFT"
    if "out of bounds" in message or "index" in message:
        return "OOB"
    if "not a valid value" in message or "load of value" in message:
        return "INIT"
    return "FAULT"


def _address(name: str, text: str, frames: tuple[int, ...], poisoned: bool) -> Fault:
    if name == "stack-overflow":
        return Fault("INF", "recursion without an end", frames)
    if name in ("FPE",):
        return Fault("FAULT", "division by zero", frames)
    if name in ("hard", "out-of-memory", "allocation-size-too-big", "calloc-overflow"):
        return Fault("FAULT", "it takes more memory than a call may", frames)
    if name == "ABRT":
        return Fault("FAULT", "the design aborted", frames)
    access = _ACCESS.search(text)
    what = f"{access[1].lower()} of {access[2]} bytes" if access else "access"
    return Fault("OOB", f"{name}: {what} outside of an array", frames, poisoned)
