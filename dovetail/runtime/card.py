"""The card of a folder that dovetail wrote: where it comes from, what was done, and what is not known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CARD = """# {name}, {recipe}

Made by dovetail {version} from another checkpoint. The card of that checkpoint is not copied: its figures are not this
one's.

- base: {name}, SHA-256 of its safetensors files {sha256}
- recipe: {recipe}
- weights: {bytes:,} bytes of elements and scales
- quality: not measured when the weights were written; where dovetail measured it since, see `result.json` beside this
- licence: the base's

`dovetail.json` says the same for programs, with every parameter of the recipe.
"""


def card(record: Mapping[str, Any]) -> str:
    """The ``README.md`` of a folder as Markdown, from its ``dovetail.json``."""
    base, recipe = record["base"], record["recipe"]
    return _CARD.format(
        name=base["name"],
        sha256=base["sha256"],
        recipe=_name(recipe),
        bytes=record["payload_bytes"],
        version=record["versions"]["dovetail"],
    )


def _name(recipe: Any) -> str:
    """A recipe's name; what is not one of ours is written as it is."""
    return (
        str(recipe.get("name", recipe)) if isinstance(recipe, Mapping) else "unnamed" if recipe is None else str(recipe)
    )
