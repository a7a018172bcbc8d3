"""The card of trained heads: whose they are, how they were trained, how often they are right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dovetail.runtime.decoding.speculator import Speculator

_CARD = """# {what} for {base}

Trained by dovetail {version}. What is guessed here is checked by the model: text
made with it is the text made without.

- base: {base}, SHA-256 of its safetensors files {sha256}; other weights are refused
- trained in {steps:,} steps on {texts:,} texts that the model wrote itself{joint}
- their beginnings: {text}; temperatures {temperatures}
- measured on {held_out:,} further texts of its own, begun where none was that it learned from: in {apart}

| tokens after the newest | right at once | among the likeliest 3 |
|---|---|---|
{rows}

Expected tokens a step: {steps_of}. What that gains depends on the machine and the batch:
`dovetail run … --speculate {kind}` measures as it goes and guesses only as much as pays.
"""
_WHAT = {"medusa": "Medusa heads", "eagle": "A draft layer"}


def card(stored: Speculator) -> str:
    """The ``README.md`` of a folder of heads."""
    about, how = stored.about, stored.about["training"]
    rows = (f"| {head} | {row[0]:.1%} | {sum(row[:3]):.1%} |" for head, row in enumerate(about["accuracy"], 1))
    return _CARD.format(
        kind=stored.kind, what=_WHAT[stored.kind], base=about["base_name"], sha256=stored.base, texts=how["texts"],
        temperatures=" and ".join(map(str, how["temperatures"])), text=about["text"], steps=how["steps"],
        joint=_joint(how.get("joint")),
        held_out=how["held_out"], apart=how["apart"], rows="\n".join(rows), version=about["versions"]["dovetail"],
        steps_of=", ".join(f"{tokens:.2f} with {nodes} guesses" for nodes, tokens in about["tokens_per_step"].items()),
    )  # fmt: skip


def _joint(how: Mapping[str, Any] | None) -> str:
    """What a second stage did, in which the model learned, too."""
    if not how:
        return ""
    return (
        f";\n  then in {how['steps']:,} steps together with the model, at a rate of {how['rate']:g}: heads weigh "
        f"{how['weight']:g},\n  and the model is held to what it said before ({how['distil']:g} of its own loss)"
    )
