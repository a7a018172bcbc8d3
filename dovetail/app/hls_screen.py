"""The screen of ``hls check``: each finding with its line, what shows it, and inputs to see it with."""

from __future__ import annotations

from typing import Any

from dovetail.app.output import folded
from dovetail.hls.check.report import Finding, Report
from dovetail.hls.classes import CLASSES

SHOWN = 8  # values of a witness per port


def findings(report: Report, source: str, quiet: bool) -> None:
    """Print a report."""
    if report.clean:
        print(f"clean       {report.top}: nothing found" + (f" in {report.tests} tests" if report.tests else ""))
    else:
        count = len(report.findings)
        print(f"found       {count} problem{'s' * (count > 1)} in {report.top}")
    lines = source.splitlines()
    garbage = {port["name"] for port in report.contract.get("ports", ()) if port["direction"] == "out"}
    for finding in report.findings:
        print()
        _one(finding, lines, garbage)
    if report.limits:
        print()
    for limit in report.limits:
        print(folded(f"not checked {limit}"))
    if not quiet:
        print(f"\ntests       {report.tests} in {report.seconds:.1f} s")


def _one(finding: Finding, lines: list[str], garbage: set[str]) -> None:
    print(folded(f"{finding.kind:<11} {CLASSES.get(finding.kind, '')}"))
    print(folded(f"            {finding.message}"))
    for line in finding.lines or (finding.line,):
        if 0 < line <= len(lines):
            print(f"line {line:<6} {lines[line - 1].strip()[:84]}")
    if finding.evidence:
        print(folded(f"evidence    {finding.evidence}"))
    if finding.witness:
        for call in finding.witness["calls"]:
            words = "; ".join(
                f"{name} = {_values(values)}" for name, values in call.items() if values and name not in garbage
            )
            print(folded(f"witness     {words}"))


def _values(values: list[Any]) -> str:
    if len(values) == 1:
        return str(values[0])
    if len(set(values)) == 1:
        return f"{len(values)} x {values[0]}"
    more = ", …" if len(values) > SHOWN else ""
    return f"[{', '.join(map(str, values[:SHOWN]))}{more}]"
