"""INF: steps that go the wrong way or nowhere, counters too narrow or unsigned, loop variables reset."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovetail.hls.inject.mutant import Mutant, change, drop, operator
from dovetail.hls.inject.syntax import Edit, Source, text, walk


@operator("endless-step")
def step(source: Source) -> Iterator[Mutant]:
    """``i++`` becomes ``i--`` or nothing; ``i += 2`` becomes ``i -= 2``; the other way round too."""
    turned = {"++": "--", "--": "++", "+=": "-=", "-=": "+=", "<<=": ">>=", ">>=": "<<="}
    for found in source.loops:
        update = found.node.child_by_field_name("update")
        sign = update.child_by_field_name("operator")
        if sign is not None and text(sign) in turned:
            yield change(
                "INF",
                "endless-step",
                source,
                sign,
                turned[text(sign)],
                f"{found.variable} goes the wrong way",
                found.variable,
            )
        yield change("INF", "endless-step", source, update, "", f"{found.variable} does not advance", found.variable)


@operator("endless-counter")
def counter(source: Source) -> Iterator[Mutant]:
    """A counter that wraps before its bound is reached, or never falls below zero."""
    for found in source.loops:
        first = found.node.child_by_field_name("initializer")
        kind = first.child_by_field_name("type") if first is not None and first.type == "declaration" else None
        if kind is None or text(kind) != "int":
            continue
        if found.compare in (">=",) and found.bound == 0:
            yield change(
                "INF",
                "endless-counter",
                source,
                kind,
                "unsigned",
                f"{found.variable} is never below zero",
                found.variable,
            )
        if found.compare in ("<", "<=") and found.bound is not None and found.bound > 1:
            reach = found.bound if found.compare == "<" else found.bound + 1
            bits = reach.bit_length() - 1
            yield change(
                "INF",
                "endless-counter",
                source,
                kind,
                f"ap_uint<{bits}>",
                f"{bits} bits cannot hold {reach}",
                found.variable,
            )


@operator("endless-while")
def while_(source: Source) -> Iterator[Mutant]:
    """In a while loop: the statement that brings its end is left out."""
    for node in source.of("while_statement"):
        names = {text(n) for n in walk(node.child_by_field_name("condition")) if n.type == "identifier"}
        for inner in walk(node.child_by_field_name("body")):
            if inner.type == "expression_statement" and _sets(text(inner)) in names:
                yield drop(
                    "INF", "endless-while", source, inner, f"{_sets(text(inner))} does not change", _sets(text(inner))
                )


def _sets(statement: str) -> str:
    found = re.match(r"\s*(?:\+\+|--)?\s*(\w+)\s*(?:[-+*/|&^]?=(?!=)|<<=|>>=|\+\+|--|;)", statement)
    return found[1] if found else ""


@operator("endless-reset")
def reset(source: Source) -> Iterator[Mutant]:
    """The inner loop advances or resets the variable of the loop around it."""
    for outer in source.loops:
        for inner in source.loops:
            if inner.node == outer.node or inner.function != outer.function or inner.variable == outer.variable:
                continue
            if (
                not outer.node.start_byte < inner.node.start_byte < outer.node.end_byte
                or inner.body.type != "compound_statement"
            ):
                continue
            at = inner.body.end_byte - 1
            if outer.start is not None and outer.step and outer.step > 0:
                yield Mutant(
                    "INF",
                    "endless-reset",
                    (Edit(at, at, f"{outer.variable} = {outer.start}; "),),
                    f"{outer.variable} is reset inside",
                    source.line(at),
                    outer.variable,
                )
