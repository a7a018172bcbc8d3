"""Places in a module: the entries of lists of modules, which are its layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """One entry of a list of modules (``model.layers`` and 3)."""

    stack: str
    index: int

    @property
    def prefix(self) -> str:
        return f"{self.stack}.{self.index}.".removeprefix(".")

    @property
    def pattern(self) -> str:
        return f"{self.stack}.{{layer}}.".removeprefix(".")


def unit_of(path: str) -> Unit | None:
    """The outermost list entry of a path; None where it is in no list."""
    parts = path.split(".")
    at = next((i for i, part in enumerate(parts) if part.isdigit()), None)
    return None if at is None else Unit(".".join(parts[:at]), int(parts[at]))
