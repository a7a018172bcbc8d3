"""Variants that need another type or another extent: whole copies of the text, each in a namespace of its own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dovetail.hls.check.repairs.schemata import CHOICE
from dovetail.hls.check.repairs.tables import entries
from dovetail.hls.signature import parse, text, walk

CHOOSER = "dovetail_choose"
FIRST = 100_000  # numbers of copies begin here
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b.*$", re.MULTILINE)
_AP = re.compile(r"ap_(u?)int\s*<([^<>]+)>")
_FIXED = re.compile(r"ap_(u?)fixed\s*<([^<>,]+),([^<>,]+)(,[^<>]*)?>")
_NARROW = re.compile(r"(?:unsigned |signed )?(?:char|short|int|long)|u?int(?:8|16|32)_t|signed|unsigned")


@dataclass(frozen=True, slots=True)
class Copy:
    """A text with one declaration changed: its number, the line, what stands there, how unlikely such a slip is."""

    number: int
    line: int
    new: str
    cost: float
    source: str
    slip: str = ""


def copies(source: str, suspicion: Mapping[int, float], most: int) -> list[Copy]:
    """At most `most` copies, those that change suspicious lines first."""
    raw, found = source.encode(), []
    for node in walk(parse(source)):
        if node.type in ("declaration", "type_definition", "parameter_declaration", "alias_declaration"):
            line = int(node.start_point[0]) + 1
            for start, end, new, cost, slip in _changes(node):
                made = (raw[:start] + new.encode() + raw[end:]).decode(errors="replace")
                at = raw[:start].count(b"\n") + 1 if slip == "zero" else line
                found.append((cost + suspicion.get(at, 1.0), at, new, cost, made, slip))
    found.sort(key=lambda one: (one[0], one[1], one[2]))
    return [Copy(FIRST + n, line, new, cost, made, slip)
            for n, (_, line, new, cost, made, slip) in enumerate(found[:most])]  # fmt: skip


def _changes(node: Any) -> Iterator[tuple[int, int, str, float, str]]:
    kind = node.child_by_field_name("type")
    if kind is not None and "stream" not in text(kind):
        for place, new in enumerate(other_types(text(kind))):
            yield kind.start_byte, kind.end_byte, new, 0.3 + 0.2 * place, _slip(text(kind), new)
    if node.type != "declaration":
        return
    if node.parent.type in ("translation_unit", "namespace_definition") or "constexpr" in text(node).split("=")[0]:
        for inner in node.children_by_field_name("declarator"):  # what holds before the program begins
            for entry, others in entries(inner) if inner.type == "init_declarator" else ():
                yield from ((entry.start_byte, entry.end_byte, new, 0.0, slip) for new, _, slip in others[:3] if slip)
    for inner in walk(node):
        size = inner.child_by_field_name("size") if inner.type == "array_declarator" else None
        if size is not None:
            yield size.start_byte, size.end_byte, f"({text(size)}) + 1", 0.3, ""
            yield size.start_byte, size.end_byte, f"({text(size)}) * 2", 0.5, ""


def _slip(ctype: str, new: str) -> str:
    """Whether another type has the other sign, or more room (as the widest signed ones have for every value)."""
    if new in ("long long", "ap_int<64>"):  # holds what any narrower type does
        return "room"
    return "sign" if ("unsigned" in new or new.startswith(("u", "ap_u"))) != ctype.startswith(("u", "ap_u")) else "room"


def other_types(ctype: str) -> list[str]:
    """Types that a declaration may have been meant to have: the other sign, or more bits."""
    bare = " ".join(ctype.split())
    if match := _AP.fullmatch(bare):
        return ["ap_int<64>", f"ap_{'' if match[1] else 'u'}int<{match[2]}>", f"ap_{match[1]}int<({match[2]}) + 16>"]
    if match := _FIXED.fullmatch(bare):
        sign, width, whole, rest = match[1], match[2].strip(), match[3].strip(), match[4] or ""
        out = [f"ap_{sign}fixed<({width}) + 8, ({whole}) + 8{rest}>", f"ap_{sign}fixed<({width}) + 8, {whole}{rest}>"]
        out += [f"ap_{sign}fixed<{width}, {whole}, AP_RND, AP_SAT>"] if not rest else []
        out += [
            f"ap_{sign}fixed<{width}, {whole}, AP_TRN, AP_SAT>",
            f"ap_{'' if sign else 'u'}fixed<{width}, {whole}{rest}>",
        ]
        return out
    if not _NARROW.fullmatch(bare):
        return []
    unsigned = bare.startswith("u")
    other = bare.removeprefix("unsigned").removeprefix("u").strip() or "int" if unsigned else f"unsigned {bare}"
    other = f"u{bare}" if bare.endswith("_t") and not unsigned else other.removeprefix("unsigned signed ")
    return ["long long", other if other != "unsigned signed" else "unsigned", "unsigned long long"]


def gathered(source: str, top: str, made: Sequence[Copy]) -> str:
    """The text, its copies, and a function that calls the one that is chosen."""
    parts = [source]
    for copy in made:
        body = _INCLUDE.sub("", copy.source)
        parts.append(f'\nnamespace dovetail_c{copy.number} {{\n#line 1 "copy{copy.number}"\n{body}\n}}')
    cases = "".join(
        f"if ({CHOICE} == {copy.number}) return dovetail_c{copy.number}::{top}(given...); " for copy in made
    )
    parts.append('\n#line 1 "chooser"\n')
    parts.append(f"template <typename... T> auto {CHOOSER}(T &&...given) {{ {cases}return {top}(given...); }}\n")
    return "\n".join(parts)
