"""The card of a folder that dovetail wrote: where it comes from, what was done, and what is known of its quality."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_CARD = """# {name}, {recipe}

Made by dovetail {version} from another checkpoint. The card of that checkpoint is not copied: its figures are not this
one's.

- base: {name}, SHA-256 of its safetensors files {sha256}
- recipe: {recipe}{calibration}
- weights: {bytes:,} bytes of elements and scales
- quality: {quality}
- licence: the base's
{table}
`dovetail.json` says the same for programs, with every parameter of the recipe.
"""
_ROWS = (  # key of what was measured, its name, its format
    ("perplexity_before", "perplexity of the base", "{:.3f}"),
    ("perplexity_after", "perplexity", "{:.3f}"),
    ("perplexity_ratio", "perplexity against the base's", "{:.4f}x"),
    ("kl", "KL(base, this), nats per token", "{:.4f}"),
    ("kl_back", "KL(this, base), nats per token", "{:.4f}"),
    ("top1", "same likeliest token as the base", "{:.2%}"),
)


def card(record: Mapping[str, Any]) -> str:
    """The ``README.md`` of a folder as Markdown, from its ``dovetail.json``."""
    base, recipe, measured = record["base"], record["recipe"], record.get("measured") or {}
    rows = list(_rows(measured))
    return _CARD.format(
        name=base["name"],
        sha256=base["sha256"],
        recipe=_name(recipe),
        calibration=_calibration(recipe),
        bytes=record["payload_bytes"],
        version=record["versions"]["dovetail"],
        quality=f"measured on {measured['text']}" if rows and measured.get("text") else "not measured",
        table="\n".join(["", "| measured | value | 95 % interval |", "|---|---|---|", *rows, ""]) if rows else "",
    )


def _rows(measured: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the table: each number with its bootstrap interval over documents."""
    for key, name, form in _ROWS:
        if found := measured.get(key):
            value, low, high = (form.format(found[end]) for end in ("value", "low", "high"))
            yield f"| {name} | {value} | {low} – {high} |"
    for row in measured.get("tasks") or ():
        before, after = (f"{row[side]['value']:.4f}" for side in ("before", "after"))
        low, high = (f"{row['after'][end]:.4f}" for end in ("low", "high"))
        yield f"| {row['task']}, {row['metric']} (base: {before}) | {after} | {low} – {high} |"


def _calibration(recipe: Any) -> str:
    found = recipe.get("calibration") if isinstance(recipe, Mapping) else None
    if not found:
        return ""
    return f"; calibrated on {found['samples']} x {found['tokens']} tokens of {found['text']}, seed {found['seed']}"


def _name(recipe: Any) -> str:
    """A recipe's name; what is not one of ours is written as it is."""
    return (
        str(recipe.get("name", recipe)) if isinstance(recipe, Mapping) else "unnamed" if recipe is None else str(recipe)
    )
