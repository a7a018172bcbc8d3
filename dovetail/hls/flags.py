"""Unset `bool` variables: g++ starts them as false whatever it is told to fill with, so a text says true."""

from __future__ import annotations

from dovetail.hls.signature import parse, text, walk

_STAYS = {"static", "extern", "const", "constexpr", "thread_local"}


def flags_raised(source: str) -> str:
    """The text with every local `bool` that has no first value starting as true; every line keeps its number."""
    if "bool" not in source:
        return source
    places = []
    for node in walk(parse(source)):
        if node.type != "declaration" or node.parent.type not in ("compound_statement", "case_statement"):
            continue
        if text(node.child_by_field_name("type")) == "bool" and not _STAYS & {text(c) for c in node.children}:
            places += [n.end_byte for n in node.children_by_field_name("declarator") if n.type == "identifier"]
    raw = source.encode()
    for place in sorted(places, reverse=True):
        raw = raw[:place] + b" = true" + raw[place:]
    return raw.decode(errors="replace")
