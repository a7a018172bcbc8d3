"""The card of a data set: what is in it, how it was proven, what was dropped, how to use it."""

from __future__ import annotations

from typing import Any

from dovetail.hls.classes import CLASSES


def card(summary: dict[str, Any]) -> str:
    """The card as Markdown."""
    return "\n".join([*_head(summary), *_classes(summary), *_rest(summary)]) + "\n"


def _head(s: dict[str, Any]) -> list[str]:
    splits = ", ".join(f"{name} {s['splits'].get(name, 0)}" for name in ("train", "valid", "test"))
    return [
        "# Proven bugs in HLS designs",
        "",
        f"{s['bugs']} bugs ({s['pairs']} of them pairs) in {s['designs']} designs; seed {s['seed']}; {splits}.",
        "Licence: Apache-2.0.",
        "",
        "Every row carries a witness. A logical bug has an input inside the contract on which the buggy source",
        "faults under a sanitizer, starves on a stream, does not end within twenty times the clean design's steps, or",
        "gives an output other than the reference's. A pragma bug has a figure from one of two models of the hardware,",
        "built differently, that judge one half each.",
        "",
    ]


def _classes(s: dict[str, Any]) -> list[str]:
    rows = ["| class | meaning | bugs | tried alone | equivalent | off-class |", "|---|---|---:|---:|---:|---:|"]
    for key, meaning in CLASSES.items():
        fates = s["fates"].get(key, {})
        if not fates and key not in s["classes"]:
            continue
        rows.append(
            f"| {key} | {meaning} | {s['classes'].get(key, 0)} | {sum(fates.values())} | "
            f"{fates.get('equivalent', 0)} | {fates.get('off-class', 0)} |"
        )
    return rows


def _rest(s: dict[str, Any]) -> list[str]:
    return [
        "",
        f"Tried: {s['tried']} mutants; {s['equivalent']:.1%} of those that compile show no harm and were dropped",
        "as equivalent. Off-class: misbehaves, but not as its class says (a wrong index inside its",
        "array is no OOB); dropped too.",
        "",
        "Splits are by groups of designs that resemble each other; no group is in two splits.",
        "",
        "- `train.jsonl`, `valid.jsonl`, `test.jsonl`: one bug a line (`source` with the bug, `patch` against",
        "  the clean source, `lines` of the clean source, `classes`, `witness`);",
        "- `designs.jsonl`: the clean designs with contract, reference and test bench;",
        "- `summary.json`: these figures.",
        "",
        "`dovetail hls dataset replay DIR` runs every witness again.",
    ]
