"""Array accesses in the text: which array, which index expressions, read or written, in which loops."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dovetail.hls.inject.performance.hints import LOOPS, name_of
from dovetail.hls.inject.syntax import Array, Source, text


@dataclass(frozen=True, slots=True)
class Access:
    """One place where an element is read or written.

    Parameters
    ----------
    array : Array
        The array, as the function knows it.
    indices : tuple of str
        Index expressions, outermost dimension first.
    reads, writes : bool
        What happens to the element.
    loops : tuple of int
        Numbers of the loops around it, outermost first.
    """

    array: Array
    indices: tuple[str, ...]
    reads: bool
    writes: bool
    loops: tuple[int, ...]
    node: Any = field(repr=False, compare=False)


def accesses(source: Source) -> list[Access]:
    """Every complete access of an array or a pointer parameter, in the order of the text."""
    number = {node.start_byte: n for n, node in enumerate(source.of(*LOOPS))}
    out = []
    for node in source.of("subscript_expression"):
        if node.parent.type == "subscript_expression" and node.parent.child_by_field_name("argument") == node:
            continue
        function = source.function_of(node)
        array = source.array(name_of(node), function)
        indices = tuple(reversed(list(_indices(node))))
        if not function or array is None or len(indices) != len(array.shape):
            continue
        reads, writes = _role(node)
        out.append(Access(array, indices, reads, writes, tuple(_around(node, number)), node))
    return out


def _indices(node: Any) -> Iterator[str]:
    while node.type == "subscript_expression":
        yield text(node.child_by_field_name("indices"))[1:-1]
        node = node.child_by_field_name("argument")


def _role(node: Any) -> tuple[bool, bool]:
    parent = node.parent
    if parent.type == "update_expression":
        return True, True
    if parent.type == "assignment_expression" and parent.child_by_field_name("left") == node:
        return text(parent.child_by_field_name("operator")) != "=", True
    return True, False


def _around(node: Any, number: dict[int, int]) -> list[int]:
    out: list[int] = []
    while node is not None:
        if node.type in LOOPS and node.start_byte in number:
            out.insert(0, number[node.start_byte])
        node = node.parent
    return out
