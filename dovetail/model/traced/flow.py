"""How tensors flow through a trace: what depends on the data, what is only a view, where a parameter is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.model.traced.atens import SHAPES, VIEWS, aten
from dovetail.model.traced.export import LENGTH, SEQUENCES, Exported
from dovetail.model.traced.size import Size, times

if TYPE_CHECKING:
    from torch.fx import Node


@dataclass(frozen=True, slots=True)
class Flow:
    """A trace and the nodes of it that depend on inputs or parameters; the others are the same in every step."""

    trace: Exported
    data: frozenset[Node]

    @staticmethod
    def of(trace: Exported) -> Flow:
        """Follow the inputs and the parameters through the graph."""
        inputs = set(trace.program.graph_signature.user_inputs)
        found: set[Node] = set()
        for node in trace.nodes:
            given = node.op == "placeholder" and (node.name in inputs or node.name in trace.names) and is_tensor(node)
            made = node.op != "placeholder" and aten(node) not in SHAPES and not found.isdisjoint(node.all_input_nodes)
            if given or made:
                found.add(node)
        return Flow(trace, frozenset(found & _alive(trace)))

    def elements(self, node: Node) -> Size:
        """Elements of a tensor; of all of them where a node makes several."""
        if is_tensor(node):
            return times(self.trace.shape(node))
        parts = {user.args[1]: user for user in node.users if aten(user) == "getitem"}
        return sum((self.elements(part) for part in parts.values()), start=Size())

    def smallest(self, node: Node) -> Size:
        """Elements of a tensor before it was repeated, if it was: the fewest along its chain of views."""
        return min((self.elements(each) for each in views(node) if is_tensor(each)), key=order)

    def parameter(self, node: Node) -> str:
        """Name of the parameter that a tensor is a view of; empty where it is none."""
        return self.trace.names.get(root(node).name, "")


def _alive(trace: Exported) -> set[Node]:
    """What the output is made of, and what changes a tensor in place, for a later node may read it there."""
    found: set[Node] = set()
    left = [
        n for n in trace.nodes if n.op == "output" or str(n.target).partition(".")[2].partition(".")[0].endswith("_")
    ]
    while left:
        node = left.pop()
        if node not in found:
            found.add(node)
            left += node.all_input_nodes
    return found


def order(size: Size) -> int:
    """What sizes are compared by: their value for the traced example."""
    return int(size.at(SEQUENCES, LENGTH))


def is_tensor(node: Node) -> bool:
    """Whether a node's value is one tensor."""
    return hasattr(node.meta.get("val"), "shape")


def views(node: Node) -> Iterator[Node]:
    """A node and what it is a view of, one after the other."""
    yield node
    while node.op == "call_function" and aten(node) in VIEWS and hasattr(node.args[0], "meta"):
        node = node.args[0]  # type: ignore[assignment]
        yield node


def root(node: Node) -> Node:
    """The tensor that a node is, in the end, a view of."""
    *_, last = views(node)
    return last


def readers(node: Node) -> Iterator[Node]:
    """Nodes that compute on a tensor, directly or through views of it; the output of the graph is one."""
    for user in node.users:
        if user.op == "call_function" and aten(user) in VIEWS and user.args[0] is node:
            yield from readers(user)
        elif user.op == "output" or (aten(user) not in SHAPES and user.meta.get("val") is not None):
            yield user
