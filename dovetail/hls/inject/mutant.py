"""What an operator makes of a design, and the list of operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dovetail.core.registry import Registry
from dovetail.hls.inject.syntax import Edit, Source, apply


@dataclass(frozen=True, slots=True)
class Mutant:
    """One bug put into a source, not yet proven.

    Parameters
    ----------
    bug : str
        Its class.
    operator : str
        What made it.
    edits : tuple of Edit
        The change, against the clean source.
    note : str
        The change in words.
    line : int
        The line of the clean source it is on; of the mutant too, unless lines were added.
    target : str
        The variable, array or loop concerned, when there is one.
    """

    bug: str
    operator: str
    edits: tuple[Edit, ...]
    note: str
    line: int
    target: str = ""
    parts: tuple[Mutant, ...] = field(default=(), repr=False)

    def of(self, source: str) -> str:
        """The source with the bug in it."""
        return apply(source, self.edits)


Operator = Callable[[Source], Iterator[Mutant]]
OPERATORS: Registry[Operator] = Registry("operator", "dovetail.hls.inject.operators")
operator = OPERATORS.register


def change(bug: str, name: str, source: Source, node: object, new: str, note: str, target: str = "") -> Mutant:
    """A mutant that replaces one node by other text."""
    start, end = node.start_byte, node.end_byte  # type: ignore[attr-defined]
    return Mutant(bug, name, (Edit(start, end, new),), note, source.line(start), target)


def drop(bug: str, name: str, source: Source, node: object, note: str, target: str = "") -> Mutant:
    """A mutant without a statement; its line stays."""
    return change(bug, name, source, node, ";", note, target)


def all_of(source: Source) -> list[Mutant]:
    """Every mutant of every operator, without repeated or unchanged texts."""
    seen = {_normal(source.source)}
    out = []
    for name in OPERATORS:
        for mutant in OPERATORS[name](source):
            try:
                text = _normal(mutant.of(source.source))
            except ValueError:
                continue
            if text not in seen:
                seen.add(text)
                out.append(mutant)
    return out


def _normal(text: str) -> str:
    return " ".join(text.split())
