"""The parts of a kernel that pragmas speak of: functions, loops with their trip counts, arrays, and every access."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.check.pragmas.values import evaluated, value_of
from dovetail.hls.signature import text

LOOPS = ("for_statement", "while_statement", "do_statement")
LONGEST = 1 << 16  # iterations that are ever enumerated


@dataclass(frozen=True, slots=True)
class Pragma:
    """``#pragma HLS name option=value flag``, in lower case but for values; `scope` is the loop or function around."""

    name: str
    options: Mapping[str, str]
    flags: frozenset[str]
    line: int
    scope: Any = field(repr=False, default=None)
    node: Any = field(repr=False, default=None)

    def number(self, name: str, values: Mapping[str, int]) -> int | None:
        """An option as a number: a literal, or a constant of the text."""
        word = self.options.get(name, "")
        return int(word, 0) if re.fullmatch(r"\d+|0[xX][0-9a-fA-F]+", word) else evaluated(word, values)


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop: its counter with start, bound and step where they are constants, and what stands inside."""

    node: Any = field(repr=False)
    line: int
    counter: str = ""
    start: Any = field(repr=False, default=None)
    condition: Any = field(repr=False, default=None)
    update: Any = field(repr=False, default=None)

    def values(self, known: Mapping[str, int]) -> list[int] | None:
        """The counter's values in order, or None when they depend on something that is not known."""
        if not self.counter or self.condition is None:
            return None
        at = value_of(self.start, known)
        step = _step(self.update, self.counter, known)
        if at is None or not step:
            return None
        out: list[int] = []
        while len(out) <= LONGEST:
            holds = value_of(self.condition, {**known, self.counter: at})
            if holds is None:
                return None
            if not holds:
                return out
            out.append(at)
            at += step
        return None


@dataclass(frozen=True, slots=True)
class Array:
    """An array with its extents, outermost first; 0 where one is not known. `port` for a parameter."""

    name: str
    extents: tuple[int, ...]
    line: int
    port: bool = False


@dataclass(frozen=True, slots=True)
class Access:
    """One subscript: the array, its index expressions, whether it is written, and the loops around it, outer first."""

    array: str
    indices: tuple[Any, ...] = field(repr=False)
    written: bool
    read: bool
    line: int
    loops: tuple[Loop, ...] = field(repr=False)
    node: Any = field(repr=False, default=None)

    @property
    def words(self) -> tuple[str, ...]:
        """The index expressions as written."""
        return tuple(text(index) for index in self.indices)


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the text, taken apart."""

    name: str
    node: Any = field(repr=False)
    line: int
    loops: tuple[Loop, ...]
    arrays: Mapping[str, Array]
    scalars: Mapping[str, str]
    streams: frozenset[str]
    accesses: tuple[Access, ...] = field(repr=False)
    pragmas: tuple[Pragma, ...] = field(repr=False)
    known: Mapping[str, int] = field(repr=False)
    locals: Mapping[str, Any] = field(repr=False, default_factory=dict)

    def loop_of(self, node: Any) -> Loop | None:
        """The loop a node is."""
        return next((loop for loop in self.loops if loop.node == node), None)

    def within(self, scope: Any) -> tuple[Loop, ...]:
        """Loops inside a loop or the function, itself not included."""
        return tuple(loop for loop in self.loops if loop.node != scope and inside(loop.node, scope))

    def around(self, node: Any) -> tuple[Loop, ...]:
        """Loops around a node, outer first, itself not included."""
        return tuple(loop for loop in self.loops if loop.node != node and inside(node, loop.node))

    def of(self, scope: Any, name: str) -> tuple[Pragma, ...]:
        """Pragmas of that name standing directly in a scope."""
        return tuple(p for p in self.pragmas if p.name == name and p.scope == scope)


def inside(node: Any, outer: Any) -> bool:
    """Whether a node lies within another."""
    return bool(outer.start_byte <= node.start_byte and node.end_byte <= outer.end_byte)


def _step(update: Any, counter: str, known: Mapping[str, int]) -> int | None:
    words = text(update).replace(" ", "")
    if words in (f"{counter}++", f"++{counter}"):
        return 1
    if words in (f"{counter}--", f"--{counter}"):
        return -1
    if match := re.fullmatch(rf"{re.escape(counter)}([+-])=(.+)", words):
        size = evaluated(match[2], known)
        return None if size is None else size if match[1] == "+" else -size
    if match := re.fullmatch(rf"{re.escape(counter)}={re.escape(counter)}([+-])(.+)", words):
        size = evaluated(match[2], known)
        return None if size is None else size if match[1] == "+" else -size
    return None
