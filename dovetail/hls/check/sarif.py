"""A report as SARIF 2.1.0, which editors and code-review sites show beside the lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dovetail.core.files import write_text
from dovetail.core.version import __version__
from dovetail.hls.check.report import Finding, Report
from dovetail.hls.classes import CLASSES, PRAGMA

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(report: Report) -> dict[str, Any]:
    """The report as a SARIF log with one run; the witness is in each result's properties."""
    kinds = sorted({finding.kind for finding in report.findings})
    rules = [{"id": kind, "shortDescription": {"text": CLASSES[kind]}} for kind in kinds]
    driver = {"name": "dovetail", "version": __version__, "rules": rules}
    notes = [{"level": "note", "message": {"text": limit}} for limit in report.limits]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": driver},
            "invocations": [{"executionSuccessful": True, "toolExecutionNotifications": notes}],
            "results": [_result(finding, report.file, kinds) for finding in report.findings],
        }],
    }  # fmt: skip


def _result(finding: Finding, file: str, kinds: list[str]) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": Path(file).as_posix()}}
    places = [{"physicalLocation": place | {"region": {"startLine": max(line, 1)}}}
              for line in finding.lines or (finding.line,)]  # fmt: skip
    return {
        "ruleId": finding.kind,
        "ruleIndex": kinds.index(finding.kind),
        "level": "warning" if finding.kind in PRAGMA else "error",
        "message": {"text": f"{finding.message} ({finding.evidence})" if finding.evidence else finding.message},
        "locations": places[:1],
        "relatedLocations": places[1:],
        "properties": {"witness": finding.witness, "by": finding.by},
    }


def write_sarif(report: Report, path: Path) -> Path:
    """Write the SARIF log to a file in one step."""
    return write_text(path, json.dumps(sarif(report), indent=2) + "\n")
