"""A number that knows its unit, its interval, its kind and the tree of numbers it was made from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from dovetail.core import units

Kind = Literal["measured", "calibrated", "modelled", "datasheet", "literature"]
KINDS: tuple[Kind, ...] = ("measured", "datasheet", "calibrated", "literature", "modelled")  # most to least trusted


@dataclass(frozen=True, slots=True)
class Quantity:
    """One number of an answer.

    Parameters
    ----------
    value, low, high : float
        The number and its interval, in SI (`unit`). ``low <= value <= high``.
    unit : str
        A dimension of `dovetail.core.units` (``"s"``, ``"byte"``, ``"J/tok"``), or a plain word.
    kind : Kind
        How the number is known.
    source : str
        Where it comes from: a datasheet, a paper and table, a measurement, or the model's name.
    formula : str
        How it was made from `parts`, in words a reader can check.
    parts : tuple of (str, Quantity)
        The numbers the formula names: the tree that `explain` prints.
    """

    value: float
    low: float
    high: float
    unit: str
    kind: Kind
    source: str = ""
    formula: str = ""
    parts: tuple[tuple[str, Quantity], ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """The stable JSON object of a physical quantity."""
        return {
            "value": self.value, "low": self.low, "high": self.high,
            "unit": self.unit, "kind": self.kind, "source": self.source,
        }  # fmt: skip

    def __str__(self) -> str:
        text = units.show(self.value, self.unit)
        if self.low == self.high:
            return text
        return f"{text} [{units.show(self.low, self.unit)} – {units.show(self.high, self.unit)}]"

    def tree(self, name: str, depth: int = 0) -> Iterator[tuple[int, str, Quantity]]:
        """(depth, name, quantity) of this number and everything below it, in reading order."""
        yield depth, name, self
        for part, quantity in self.parts:
            yield from quantity.tree(part, depth + 1)


def exact(value: float, unit: str, kind: Kind, source: str, **rest: Any) -> Quantity:
    """A quantity whose interval is the value itself: counts, datasheet figures, closed forms."""
    return Quantity(float(value), float(value), float(value), unit, kind, source, **rest)


def weakest(*kinds: Kind) -> Kind:
    """The least trusted of several kinds: what a number made from them may call itself."""
    return max(kinds, key=KINDS.index) if kinds else "modelled"
