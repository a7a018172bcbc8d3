"""USE: unsigned values that become signed on their way to a wider place."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, inside, text

_PLAIN = {
    "uint8_t": "int8_t",
    "uint16_t": "int16_t",
    "uint32_t": "int32_t",
    "uint64_t": "int64_t",
    "unsigned char": "signed char",
    "unsigned short": "short",
    "unsigned int": "int",
    "unsigned": "int",
}


def signed(ctype: str) -> str:
    """The signed type of the same width; empty for a type that is not unsigned."""
    if ctype in _PLAIN:
        return _PLAIN[ctype]
    found = re.fullmatch(r"ap_u(int|fixed)<(.*)>", ctype)
    return f"ap_{found[1]}<{found[2]}>" if found else ""


@operator("sign-declaration")
def declaration(source: Source) -> Iterator[Mutant]:
    """A local variable of an unsigned type becomes signed."""
    for node in source.of("declaration"):
        kind = node.child_by_field_name("type")
        new = signed(source.resolved(text(kind)))
        if new and inside(node, "function_definition"):
            yield change("USE", "sign-declaration", source, kind, new, f"{text(kind)} becomes {new}", _name(node))


@operator("sign-cast")
def cast(source: Source) -> Iterator[Mutant]:
    """A cast to an unsigned type becomes signed."""
    for node in source.of("cast_expression"):
        kind = node.child_by_field_name("type")
        if new := signed(source.resolved(text(kind))):
            yield change(
                "USE", "sign-cast", source, kind, new, f"cast to {new}", text(node.child_by_field_name("value"))
            )


@operator("sign-read")
def read(source: Source) -> Iterator[Mutant]:
    """A read of an unsigned element or variable goes through the signed type of its width."""
    for node in source.of("subscript_expression", "identifier"):
        declares = (
            node.parent.type in ("array_declarator", "init_declarator", "declaration") and node.type == "identifier"
        )
        if declares and node != node.parent.child_by_field_name("value"):
            continue
        if node.parent.type == "subscript_expression" or _written(node):
            continue
        name = text(node).split("[")[0]
        new = signed(source.type_of(name, source.function_of(node)))
        if (
            new
            and inside(node, "compound_statement")
            and node.parent.type not in ("argument_list", "call_expression", "field_expression")
        ):
            yield change(
                "USE", "sign-read", source, node, f"({new})({text(node)})", f"{text(node)} is read as {new}", name
            )


def _written(node: object) -> bool:
    parent = node.parent  # type: ignore[attr-defined]
    if parent.type == "assignment_expression":
        return bool(parent.child_by_field_name("left") == node)
    return parent.type in (
        "update_expression",
        "reference_declarator",
        "parameter_declaration",
        "template_argument_list",
    )


def _name(node: object) -> str:
    found = node.child_by_field_name("declarator")  # type: ignore[attr-defined]
    return text(found).split("=")[0].split("[")[0].strip()
