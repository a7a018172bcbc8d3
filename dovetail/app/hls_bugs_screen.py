"""What `hls inject`, `hls dataset` and `hls import` print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dovetail.app.table import table


def injected(rows: Sequence[dict[str, Any]], dropped: str) -> None:
    """Proven bugs, one a line, and what was dropped."""
    print(f"{len(rows)} proven bugs; {dropped}")
    table(
        ["class", "line", "change", "proof"],
        [[row["class"], str(row["line"]), row["note"][:40], row["proof"][:46]] for row in rows],
    )


def built(summary: dict[str, Any], folder: str) -> None:
    """A data set: how many bugs of which class, and what to do next."""
    pairs = f", {summary['pairs']} of them pairs" if summary["pairs"] else ""
    print(
        f"{summary['bugs']} proven bugs{pairs} in {summary['designs']} designs; "
        f"{summary['equivalent']:.0%} of the mutants that compile are equivalent"
    )
    table(["class", "bugs"], [[bug, str(n)] for bug, n in summary["classes"].items()])
    if summary["bugs"] < summary["asked"]:
        print(f"{summary['asked']} were asked for; no more can be proven in these designs")
    print(f"written: {folder}    next: dovetail hls dataset replay {folder}")


def replayed(total: int, held: int, lost: Sequence[tuple[str, str]]) -> None:
    """How many witnesses showed again."""
    print(f"{held} of {total} witnesses show again")
    for name, seen in lost[:10]:
        print(f"  {name}: {seen}")


def imported(summary: dict[str, Any]) -> None:
    """What an import found: how much compiles, and the audit of the labels."""
    share = summary["compiled"] / max(1, summary["designs"])
    print(
        f"{summary['designs']} designs: {summary['compiled']} compile ({share:.1%}), "
        f"{summary['standalone']} of them as they are; {summary['executed']} run clean on probed inputs"
    )
    if audit := summary.get("audit"):
        table(
            ["label", "patches", "compile", "shown", "other class", "no harm seen"],
            [
                [bug, *(str(row.get(k, 0)) for k in ("patches", "compile", "shown", "other", "none"))]
                for bug, row in audit.items()
            ],
        )
