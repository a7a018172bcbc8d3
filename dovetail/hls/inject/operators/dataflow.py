"""DFP: dataflow where there are no tasks to overlap, or after they have begun."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dovetail.hls.inject.mutant import Mutant, operator
from dovetail.hls.inject.syntax import Edit, Source

PRAGMA = "#pragma HLS DATAFLOW\n"


@operator("dataflow-moved")
def moved(source: Source) -> Iterator[Mutant]:
    """The pragma moves into a task, or behind the first call of its region."""
    for pragma in source.pragmas:
        if pragma.directive != "dataflow":
            continue
        gone = Edit(pragma.node.start_byte, pragma.node.end_byte, "\n")
        for node in source.of("function_definition"):
            name = source.function_of(node)
            if name != pragma.function and node.child_by_field_name("body") is not None:
                at = node.child_by_field_name("body").start_byte + 1
                yield Mutant(
                    "DFP",
                    "dataflow-moved",
                    tuple(sorted((gone, Edit(at, at, "\n" + PRAGMA.rstrip())))),
                    f"dataflow in {name} instead of {pragma.function}",
                    source.line(at),
                    name,
                )
        for call in _calls(pragma.node.parent)[:2]:
            edits = tuple(sorted((gone, Edit(call.end_byte, call.end_byte, "\n" + PRAGMA.rstrip()))))
            yield Mutant(
                "DFP",
                "dataflow-moved",
                edits,
                "dataflow after the first task",
                source.line(call.end_byte),
                pragma.function,
            )


@operator("dataflow-loop")
def in_loop(source: Source) -> Iterator[Mutant]:
    """Dataflow in a loop whose body is not made of tasks."""
    for loop in source.loops:
        if loop.body.type == "compound_statement":
            at = loop.body.start_byte + 1
            yield Mutant(
                "DFP",
                "dataflow-loop",
                (Edit(at, at, "\n" + PRAGMA.rstrip()),),
                f"dataflow in the loop over {loop.variable}",
                source.line(at),
                loop.variable,
            )


def _calls(body: Any) -> list[Any]:
    return [
        n
        for n in body.named_children
        if n.type == "expression_statement" and n.named_children and n.named_children[0].type == "call_expression"
    ]
