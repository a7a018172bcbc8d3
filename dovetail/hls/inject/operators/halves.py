"""BUF: the wrong half of a split buffer, or the wrong of two twins."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, inside, text, value_of

_PAIRS = (
    ("ping", "pong"),
    ("lo", "hi"),
    ("low", "high"),
    ("even", "odd"),
    ("left", "right"),
    ("first", "second"),
    ("top", "bottom"),
    ("a", "b"),
    ("0", "1"),
    ("re", "im"),
    ("above", "here"),
    ("src", "dst"),
    ("from", "to"),
    ("x", "y"),
    ("2", "3"),
)


@operator("half-select")
def select(source: Source) -> Iterator[Mutant]:
    """A subscript that picks one of two halves picks the other: ``p`` and ``1 - p``, ``!p``, 0 and 1."""
    for node in source.of("subscript_expression"):
        array = source.array(text(node).split("[")[0], source.function_of(node))
        indices = node.child_by_field_name("indices")
        index = text(indices)[1:-1].strip()
        depth = text(node.child_by_field_name("argument")).count("[")
        if array is None or depth >= len(array.shape) or array.shape[depth] != 2:
            continue
        yield change(
            "BUF",
            "half-select",
            source,
            indices,
            f"[{_other(index)}]",
            f"{array.name}: {_other(index)} for {index}",
            array.name,
        )


def _other(index: str) -> str:
    if found := re.fullmatch(r"1 - (\w+)|!(\w+)", index):
        return found[1] or found[2]
    return {"0": "1", "1": "0"}.get(index, f"1 - ({index})")


@operator("half-offset")
def offset(source: Source) -> Iterator[Mutant]:
    """``i + N`` into the second half loses its offset; ``i`` into the first gets one."""
    for node in source.of("subscript_expression"):
        array = source.array(text(node).split("[")[0], source.function_of(node))
        indices = node.child_by_field_name("indices")
        index = text(indices)[1:-1].strip()
        depth = text(node.child_by_field_name("argument")).count("[")
        if array is None or depth >= len(array.shape) or array.shape[depth] % 2 or array.shape[depth] < 4:
            continue
        half = array.shape[depth] // 2
        tail = re.fullmatch(r"(.+?) \+ ([\w ()/*]+)", index)
        if tail and value_of(tail[2], source.constants) == half:
            yield change(
                "BUF",
                "half-offset",
                source,
                indices,
                f"[{tail[1]}]",
                f"{array.name}: the first half for the second",
                array.name,
            )
        elif _covers(source, node, index, half):
            yield change(
                "BUF",
                "half-offset",
                source,
                indices,
                f"[{index} + {half}]",
                f"{array.name}: the second half for the first",
                array.name,
            )


def _covers(source: Source, node: object, index: str, half: int) -> bool:
    """Whether the index is a variable of a loop over exactly one half."""
    return any(
        loop.variable == index and loop.trip == half and loop.node.start_byte < node.start_byte < loop.node.end_byte  # type: ignore[attr-defined]
        for loop in source.loops
    )


@operator("half-name")
def name(source: Source) -> Iterator[Mutant]:
    """One of two buffers of the same type and shape is used for the other, where their names make a pair."""
    known: dict[str, dict[str, str]] = {}
    for array in source.arrays:
        known.setdefault(array.function, {})[array.name] = f"{array.ctype}{array.shape}"
    for node in source.of("declaration", "parameter_declaration"):
        if "stream" in text(node.child_by_field_name("type")):
            for declarator in node.children_by_field_name("declarator"):
                found = re.match(r"&?\s*(\w+)", text(declarator))
                if found:
                    known.setdefault(source.function_of(node), {})[found[1]] = text(node.child_by_field_name("type"))
    for node in source.of("init_declarator"):
        scalar, kind = node.child_by_field_name("declarator"), node.parent.child_by_field_name("type")
        if scalar.type == "identifier" and kind is not None:
            known.setdefault(source.function_of(node), {}).setdefault(text(scalar), text(kind))
    for node in source.of("identifier"):
        function = source.function_of(node)
        here, mine = text(node), known.get(function, {})
        if here not in mine or inside(node, "compound_statement") is None or _declares(node):
            continue
        for twin in _twins(here):
            if twin != here and mine.get(twin) == mine[here]:
                yield change("BUF", "half-name", source, node, twin, f"{twin} for {here}", here)


def _declares(node: object) -> bool:
    parent = node.parent  # type: ignore[attr-defined]
    return parent.type in (
        "init_declarator",
        "declaration",
        "array_declarator",
        "parameter_declaration",
        "reference_declarator",
    ) and not (parent.type == "init_declarator" and parent.child_by_field_name("value") == node)


def _twins(name: str) -> list[str]:
    out = []
    for one, other in _PAIRS:
        for a, b in ((one, other), (other, one)):
            if name == a:
                out.append(b)
            elif name.endswith("_" + a):
                out.append(name[: -len(a)] + b)
            elif name.startswith(a + "_"):
                out.append(b + name[len(a) :])
            elif len(a) == 1 and a.isdigit() and name.endswith(a):
                out.append(name[:-1] + b)
    return out
