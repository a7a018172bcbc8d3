"""DEADLOCK: streams that are written once too little, read once too often, or joined in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from dovetail.hls.inject.mutant import Mutant, change, drop, operator
from dovetail.hls.inject.syntax import Edit, Source, inside, text, walk


def _transfers(source: Source) -> Iterator[tuple[Any, str, str]]:
    """Calls of read and write on streams: the call, the stream, the method."""
    for node in source.of("call_expression"):
        function = node.child_by_field_name("function")
        if function is not None and function.type == "field_expression":
            method = text(function.child_by_field_name("field"))
            if method in ("read", "write"):
                yield node, text(function.child_by_field_name("argument")), method


@operator("stream-lost-write")
def lost_write(source: Source) -> Iterator[Mutant]:
    """A write is left out, or happens only when the loop variable is not zero."""
    for node, stream, method in _transfers(source):
        statement = node.parent
        if method != "write" or statement.type != "expression_statement":
            continue
        yield drop("DEADLOCK", "stream-lost-write", source, statement, f"{stream} is not written", stream)
        for loop in source.loops:
            if loop.node.start_byte < node.start_byte < loop.node.end_byte:
                yield change(
                    "DEADLOCK",
                    "stream-lost-write",
                    source,
                    statement,
                    f"if ({loop.variable} != {loop.start or 0}) {text(statement)}",
                    f"{stream} is not written in the first step",
                    stream,
                )


@operator("stream-read-twice")
def read_twice(source: Source) -> Iterator[Mutant]:
    """One read, or write, too many."""
    for node, stream, method in _transfers(source):
        statement = inside(node, "expression_statement", "declaration", "return_statement", "if_statement")
        if statement is None or statement.type not in ("expression_statement", "declaration"):
            continue
        if statement.parent.type != "compound_statement":
            continue
        extra = f"(void){stream}.read(); " if method == "read" else f"{text(node)}; "
        yield Mutant(
            "DEADLOCK",
            "stream-read-twice",
            (Edit(statement.start_byte, statement.start_byte, extra),),
            f"{stream}: one {method} too many",
            source.line(statement.start_byte),
            stream,
        )


@operator("stream-length")
def length(source: Source) -> Iterator[Mutant]:
    """A loop that moves a stream's elements is one step short."""
    for loop in source.loops:
        if loop.compare not in ("<", "<=") or not any(
            text(n) in ("read", "write") for n in walk(loop.body) if n.type == "field_identifier"
        ):
            continue
        right = loop.node.child_by_field_name("condition").child_by_field_name("right")
        yield change(
            "DEADLOCK",
            "stream-length",
            source,
            right,
            f"{text(right)} - 1",
            f"the loop over {loop.variable} moves one element too few",
            loop.variable,
        )


@operator("stream-order")
def order(source: Source) -> Iterator[Mutant]:
    """A task reads what a later one writes: two calls of a dataflow region change places."""
    for pragma in source.pragmas:
        if pragma.directive != "dataflow" or pragma.node.parent.type != "compound_statement":
            continue
        calls = [
            n
            for n in pragma.node.parent.named_children
            if n.type == "expression_statement" and n.named_children and n.named_children[0].type == "call_expression"
        ]
        for first, second in pairwise(calls):
            edits = (
                Edit(first.start_byte, first.end_byte, text(second)),
                Edit(second.start_byte, second.end_byte, text(first)),
            )
            yield Mutant(
                "DEADLOCK",
                "stream-order",
                edits,
                "a task runs before the one that feeds it",
                source.line(first.start_byte),
                text(second).split("(")[0],
            )
