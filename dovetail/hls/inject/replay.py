"""Run the witnesses of a data set again: what was proven once must show each time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.hls.classes import PRAGMA
from dovetail.hls.contract_file import from_plain
from dovetail.hls.design import Design, Oracle
from dovetail.hls.inject.inputs import Test, read_ports
from dovetail.hls.inject.judge import Verdict, judge
from dovetail.hls.inject.mutant import Mutant
from dovetail.hls.inject.performance.evidence import evidence
from dovetail.hls.inject.syntax import Edit


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many witnesses showed again, and the ids of those that did not, with what was seen."""

    total: int
    held: int
    lost: tuple[tuple[str, str], ...]


def load(folder: Path) -> tuple[dict[str, Design], list[dict[str, Any]]]:
    """Designs and rows of a data set. Raises `DovetailError` when the folder holds none."""
    if not (folder / "designs.jsonl").is_file():
        raise DovetailError(
            "no data set here", where=str(folder), hint=f"dovetail hls dataset build --count 200 --out {folder}"
        )
    designs = {row["design"]: _design(row) for row in _rows(folder / "designs.jsonl")}
    rows = [row for split in ("train", "valid", "test") for row in _rows(folder / f"{split}.jsonl")]
    return designs, rows


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            yield json.loads(line)
        except ValueError:
            raise DovetailError("not JSON", where=f"{path}:{number}") from None


def _design(row: dict[str, Any]) -> Design:
    contract = from_plain(row["contract"], row["design"])
    oracle = Oracle("cpp", row["reference"], contract.top) if row["reference"] else None
    return Design(row["source"], contract, oracle, name=row["design"])


def replay_rows(designs: dict[str, Design], rows: Sequence[dict[str, Any]]) -> Replayed:
    """Run every witness: its input alone, or its model."""
    lost: list[tuple[str, str]] = []
    for name in sorted({row["design"] for row in rows}):
        mine = [row for row in rows if row["design"] == name]
        lost += _executions(designs[name], [row for row in mine if "execution" in row["witness"]])
        lost += _models(designs[name], [row for row in mine if "model" in row["witness"] and len(row["classes"]) == 1])
    return Replayed(len(rows), len(rows) - len({row for row, _ in lost}), tuple(lost))


def _executions(design: Design, rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    if not rows:
        return []
    own = [_test(design, row) for row in rows]
    tests = list(dict.fromkeys(own))
    verdicts = judge(
        design, [row["source"] for row in rows], tests, [True] * len(rows), [tests.index(test) for test in own]
    )
    return [
        (row["id"], f"{verdict.end}: {verdict.detail}")
        for row, verdict in zip(rows, verdicts)
        if not _holds(row["witness"]["execution"], verdict)
    ]


def _test(design: Design, row: dict[str, Any]) -> Test:
    ports = read_ports(design.contract)
    return tuple(tuple(call[port.name]) for call in row["witness"]["execution"]["inputs"] for port in ports)


def _holds(before: dict[str, Any], now: Verdict) -> bool:
    if before["unset"] and not now.unset:
        return False
    return now.wrong and (now.end == before["end"] or before["unset"])


def _models(design: Design, rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    lost = []
    for row in rows:
        edits = tuple(Edit(p["start"], p["end"], p["new"]) for p in row["patch"])
        bug = next(b for b in row["classes"] if b in PRAGMA)
        found = evidence(
            design,
            Mutant(bug, row["operator"], edits, row["note"], row["lines"][0], row["target"]),
            row["witness"]["model"]["model"],
        )
        if found is None or found.plain() != row["witness"]["model"]:
            lost.append((row["id"], "no evidence" if found is None else found.detail))
    return lost
