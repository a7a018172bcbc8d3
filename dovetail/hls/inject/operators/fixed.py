"""OVERFLOW: fixed-point types that overflow, wrap or round where the design relied on them not to."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, text

_TYPE = re.compile(r"ap_(u?)fixed<\s*(\d+)\s*,\s*(\d+)\s*(.*)>")


@operator("fixed-type")
def fixed(source: Source) -> Iterator[Mutant]:
    """Fewer integer bits, fewer fraction bits, no saturation, no rounding; port types stay as they are."""
    for node in source.of("template_type"):
        found = _TYPE.fullmatch(text(node))
        if found is None or _of_a_port(source, node):
            continue
        sign, width, whole, rest = found[1], int(found[2]), int(found[3]), found[4]
        new = {
            f"{width - 2}, {whole - 2}{rest}": "two integer bits fewer",
            f"{width - 1}, {whole - 1}{rest}": "one integer bit fewer",
            f"{max(whole + 1, width - 6)}, {whole}{rest}": "six fraction bits fewer",
            f"{width}, {whole + 6}{rest}": "six fraction bits given away",
        }
        if "AP_SAT" in rest:
            new[f"{width}, {whole}{rest.replace('AP_SAT', 'AP_WRAP')}"] = "wraps instead of saturating"
        if "AP_RND" in rest:
            new[f"{width}, {whole}{rest.replace('AP_RND', 'AP_TRN')}"] = "truncates instead of rounding"
        for inner, said in new.items():
            yield change(
                "OVERFLOW",
                "fixed-type",
                source,
                node,
                f"ap_{sign}fixed<{inner}>",
                f"{text(node)}: {said}",
                _named(node),
            )


@operator("fixed-int")
def integer(source: Source) -> Iterator[Mutant]:
    """Arbitrary-precision and plain integers one or more bits too narrow for what they hold."""
    narrower = {
        "int64_t": "int32_t",
        "int32_t": "int16_t",
        "uint32_t": "uint16_t",
        "uint16_t": "uint8_t",
        "int16_t": "int8_t",
    }
    for node in source.of("declaration"):
        kind = node.child_by_field_name("type")
        if source.function_of(node) == "" or any(text(c) in ("static", "const") for c in node.children):
            continue
        found = re.fullmatch(r"ap_(u?)int<(\d+)>", source.resolved(text(kind)))
        new = f"ap_{found[1]}int<{int(found[2]) - 1}>" if found and int(found[2]) > 1 else narrower.get(text(kind), "")
        if new:
            yield change(
                "OVERFLOW",
                "fixed-int",
                source,
                kind,
                new,
                f"{new} is too narrow",
                text(node.child_by_field_name("declarator")).split("=")[0].strip(),
            )


def _named(node: object) -> str:
    parent = node.parent  # type: ignore[attr-defined]
    found = parent.child_by_field_name("declarator")
    return text(found).split("=")[0].strip() if found is not None else ""


def _of_a_port(source: Source, node: object) -> bool:
    """Whether the type, or the typedef it defines, is that of a parameter: changing it changes the interface."""
    parent = node.parent  # type: ignore[attr-defined]
    if parent.type == "parameter_declaration":
        return True
    if parent.type != "type_definition":
        return False
    name = text(parent.child_by_field_name("declarator"))
    return any(
        re.search(rf"\b{name}\b", text(p.child_by_field_name("type"))) for p in source.of("parameter_declaration")
    )
