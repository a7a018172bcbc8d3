"""DFP: dataflow over something that is not a sequence of tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dovetail.hls.check.pragmas.model import Function, Pragma, inside
from dovetail.hls.check.report import Finding
from dovetail.hls.signature import text


def dataflow_place(function: Function, every: Sequence[Function]) -> Iterator[Finding]:
    """DFP: dataflow over something that is not a sequence of tasks."""
    ours = {f.name for f in every}
    for pragma in function.pragmas:
        if pragma.name != "dataflow":
            continue
        why = _no_dataflow(function, pragma, ours)
        if why:
            lines = (pragma.line, pragma.scope.start_point[0] + 1)
            message = f"dataflow has no tasks to overlap here: {why}"
            yield Finding("DFP", pragma.line, message, "a region of tasks in a row", None, lines, "pragma lint")


def _no_dataflow(function: Function, pragma: Pragma, ours: set[str]) -> str:
    body = _body(pragma.scope)
    statements = (
        [n for n in body.named_children if n.type not in ("comment", "preproc_call", "declaration")] if body else []
    )
    tasks = [n for n in statements if _task(n, ours)]
    block = pragma.node.parent
    if block is not None and block.parent is not None and block.parent.type in ("if_statement", "else_clause"):
        return "it is inside a condition"
    if any(p.name == "pipeline" and inside(pragma.scope, p.scope) for p in function.pragmas if p is not pragma):
        return "the region is pipelined"
    if len(tasks) < 2:
        return f"{len(tasks)} task" + "s" * (len(tasks) != 1)
    if function.around(pragma.scope) and function.loop_of(pragma.scope) is None:
        return "it is in a nested block"
    before = [n for n in tasks if n.end_byte <= pragma.node.start_byte]
    if before:
        return f"a task at line {before[0].start_point[0] + 1} comes before it"
    decides = ("if_statement", "return_statement", "switch_statement", "break_statement")
    stray = next((n for n in statements if n not in tasks and n.type in decides), None)
    if stray is not None and not (stray.type == "return_statement" and stray is statements[-1]):
        return f"a condition at line {stray.start_point[0] + 1} decides about tasks"
    return ""


def _body(scope: Any) -> Any:
    body = scope.child_by_field_name("body") if scope is not None else None
    return body if body is not None and body.type == "compound_statement" else None


def _task(node: Any, ours: set[str]) -> bool:
    """A loop, or a statement that calls a function (of this text, or one with several arguments)."""
    if node.type in ("for_statement", "while_statement", "labeled_statement"):
        return True
    if node.type != "expression_statement":
        return False
    call = next((n for n in node.named_children if n.type == "call_expression"), None)
    if call is None:
        return False
    name = text(call.child_by_field_name("function")).split("<")[0].split("::")[-1]
    return name in ours or "." not in text(call.child_by_field_name("function"))
