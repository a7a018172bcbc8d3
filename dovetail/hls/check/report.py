"""What a check found: findings with class, line, evidence and witness, and how much could be checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.classes import CLASSES, PRAGMA


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    kind : str
        Its class, a key of `classes.CLASSES`.
    line : int
        The most suspicious line, from 1; 0 when none stands out.
    message : str
        One sentence.
    evidence : str
        What shows it: a sanitizer's report, two outputs that differ, a schedule.
    witness : mapping, optional
        Inputs that show it, by port: `{"calls": [{port: values}]}`; None where no input is needed.
    lines : tuple of int
        Up to three suspicious lines, best first.
    by : str
        Which check found it.
    """

    kind: str
    line: int
    message: str
    evidence: str = ""
    witness: Mapping[str, Any] | None = None
    lines: tuple[int, ...] = ()
    by: str = ""

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return {
            "class": self.kind, "line": self.line, "message": self.message, "evidence": self.evidence,
            "witness": self.witness, "lines": list(self.lines or (self.line,)), "by": self.by,
            "meaning": CLASSES.get(self.kind, ""), "pragma": self.kind in PRAGMA,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Report:
    """All findings about one design.

    Parameters
    ----------
    file, top : str
        What was checked.
    findings : tuple of Finding
        The most certain first.
    limits : tuple of str
        What could not be checked, and why; empty after a full check.
    contract : mapping
        The contract it was checked under, as YAML would hold it.
    tests : int
        Calls that ran.
    seconds : float
        Wall clock.
    """

    file: str
    top: str
    findings: tuple[Finding, ...] = ()
    limits: tuple[str, ...] = ()
    contract: Mapping[str, Any] = field(default_factory=dict)
    tests: int = 0
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether nothing was found; see `limits` for what that is worth."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """As scripts read it."""
        return {
            "clean": self.clean, "file": self.file, "top": self.top,
            "findings": [finding.to_json() for finding in self.findings], "limits": list(self.limits),
            "tests": self.tests, "seconds": round(self.seconds, 3), "contract": dict(self.contract),
            "stages": {name: round(value, 3) for name, value in self.stages.items()},
        }  # fmt: skip
