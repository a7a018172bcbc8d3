"""OOB: subscripts off by one or more, loops that run one too far, arrays one too small."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Source, inside, text


@operator("bounds-subscript")
def subscript(source: Source) -> Iterator[Mutant]:
    """``a[i]`` becomes ``a[i + 1]``, ``a[i - 1]``, or a whole extent further."""
    for node in source.of("subscript_expression"):
        inner = node.child_by_field_name("indices")
        if inner is None:
            continue
        index = text(inner)[1:-1]
        for off in ("+ 1", "- 1"):
            yield change(
                "OOB",
                "bounds-subscript",
                source,
                inner,
                f"[({index}) {off}]",
                f"subscript {index} {off}",
                text(node.child_by_field_name("argument")),
            )


@operator("bounds-loop")
def loop(source: Source) -> Iterator[Mutant]:
    """``i < N`` becomes ``i <= N``, ``i > 0`` becomes ``i >= 0``; a start one lower."""
    wider = {"<": "<=", ">": ">="}
    for found in source.loops:
        test = found.node.child_by_field_name("condition")
        sign = test.child_by_field_name("operator")
        if text(sign) in wider:
            yield change(
                "OOB",
                "bounds-loop",
                source,
                sign,
                wider[text(sign)],
                f"loop over {found.variable} runs one step more",
                found.variable,
            )
        else:
            right = test.child_by_field_name("right")
            more = f"{text(right)} {'+' if text(sign) == '<=' else '-'} 1"
            yield change(
                "OOB",
                "bounds-loop",
                source,
                right,
                more,
                f"loop over {found.variable} runs one step more",
                found.variable,
            )


@operator("bounds-extent")
def extent(source: Source) -> Iterator[Mutant]:
    """A local array one element too small in one dimension."""
    for array in source.arrays:
        if array.parameter or not array.function:
            continue
        node = array.node.child_by_field_name("declarator") if array.node.type == "init_declarator" else array.node
        while node is not None and node.type == "array_declarator":
            size = node.child_by_field_name("size")
            if size is not None and inside(node, "function_definition"):
                yield change(
                    "OOB",
                    "bounds-extent",
                    source,
                    size,
                    f"{text(size)} - 1",
                    f"{array.name} is one element short",
                    array.name,
                )
            node = node.child_by_field_name("declarator")
