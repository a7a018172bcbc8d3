"""MLU: loops unrolled by hand with a copy, a step or a tail that is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, operator
from dovetail.hls.inject.syntax import Edit, Loop, Source, inside, text, walk


@operator("unroll-copy")
def copy(source: Source) -> Iterator[Mutant]:
    """In a loop that steps by more than one: a copy works on the element of another copy."""
    for loop in source.loops:
        if loop.step is None or abs(loop.step) < 2:
            continue
        for node in walk(loop.body):
            if node.type == "binary_expression" and text(node.child_by_field_name("left")).endswith(loop.variable):
                right = node.child_by_field_name("right")
                if text(node.child_by_field_name("operator")) == "+" and text(right).isdigit():
                    for new in sorted({int(text(right)) - 1, int(text(right)) + 1} - {int(text(right))}):
                        yield change(
                            "MLU",
                            "unroll-copy",
                            source,
                            right,
                            str(new),
                            f"copy {text(right)} works on element {new}",
                            loop.variable,
                        )


@operator("unroll-step")
def step(source: Source) -> Iterator[Mutant]:
    """A loop unrolled by hand steps by more or less than it unrolls."""
    for loop in source.loops:
        update = loop.node.child_by_field_name("update")
        right = update.child_by_field_name("right")
        if loop.step is None or loop.step < 2 or right is None:
            continue
        for new in sorted({1, loop.step - 1, loop.step + 1, 2 * loop.step} - {loop.step}):
            yield change(
                "MLU", "unroll-step", source, right, str(new), f"steps by {new}, unrolled by {loop.step}", loop.variable
            )


@operator("unroll-by-hand")
def by_hand(source: Source) -> Iterator[Mutant]:
    """A rolled innermost loop unrolled by two or three: the copy repeats the first, or the tail is lost."""
    for loop in source.loops:
        if loop.step != 1 or not loop.trip or loop.body.type != "compound_statement" or _nested(loop):
            continue
        update = loop.node.child_by_field_name("update")
        inner = _text_without_pragmas(loop)
        if "continue" in inner or "break" in inner:
            continue
        for factor, stride in ((2, 0), (2, 2), (3, 1)):
            if (factor == 3) != bool(loop.trip % 3) and factor == 3:
                continue
            copies = "".join(" {" + _shifted(inner, loop.variable, n * stride) + "}" for n in range(1, factor))
            end = loop.body.end_byte - 1
            edits = (Edit(update.start_byte, update.end_byte, f"{loop.variable} += {factor}"), Edit(end, end, copies))
            said = {
                0: "every copy works on the first element",
                1: f"unrolled by {factor}, which {loop.trip} is not a multiple of",
                2: "the copy works on the element after the next",
            }[stride]
            yield Mutant("MLU", "unroll-by-hand", edits, said, source.line(update.start_byte), loop.variable)


def _nested(loop: Loop) -> bool:
    return (
        any(n.type in ("for_statement", "while_statement") for n in walk(loop.body))
        or inside(loop.body, "lambda_expression") is not None
    )


def _text_without_pragmas(loop: Loop) -> str:
    return " ".join(text(n) for n in loop.body.named_children if n.type not in ("preproc_call", "comment"))


def _shifted(body: str, variable: str, by: int) -> str:
    import re

    return re.sub(rf"\b{re.escape(variable)}\b", f"({variable} + {by})", body) if by else body
