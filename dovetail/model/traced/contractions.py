"""Products of matrices, one small function for each ATen operator: which operands, and how they contract."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

from dovetail.model.traced.export import Exported, refused
from dovetail.model.traced.size import Size, times

if TYPE_CHECKING:
    from torch.fx import Node

ONE = Size.of(1)


@dataclass(frozen=True, slots=True)
class Contraction:
    """``left[batch, m, k] right[batch, k, n]``, added to `bias`; FLOPs are ``2 batch m k n``, as a counter counts."""

    left: Node
    right: Node
    m: Size
    k: Size
    n: Size
    batch: Size = ONE
    bias: Node | None = None

    def turned(self) -> Contraction:
        """The same with its operands exchanged: ``y^T = right^T left^T``."""
        return Contraction(self.right, self.left, self.n, self.k, self.m, self.batch, self.bias)


def _linear(trace: Exported, node: Node) -> Contraction:
    x, weight, *rest = _operands(node)
    *rows, k = trace.shape(x)
    n = trace.shape(weight)[0] if len(trace.shape(weight)) == 2 else ONE
    return Contraction(x, weight, times(rows), k, n, bias=rest[0] if rest else None)


def _matmul(trace: Exported, node: Node) -> Contraction:
    return _matrices(trace, *_operands(node)[:2])


def _added(trace: Exported, node: Node) -> Contraction:
    bias, left, right = _operands(node)[:3]
    found = _matrices(trace, left, right)
    return Contraction(left, right, found.m, found.k, found.n, found.batch, bias)


def _matrices(trace: Exported, left: Node, right: Node) -> Contraction:
    """Products as `torch.matmul` broadcasts them; an operand without batch dimensions sees one tall matrix."""
    a, b = trace.shape(left), trace.shape(right)
    a, b = (ONE, *a) if len(a) == 1 else a, (*b, ONE) if len(b) == 1 else b
    if len(b) == 2:
        return Contraction(left, right, times(a[:-1]), a[-1], b[-1])
    if len(a) == 2:
        return Contraction(left, right, a[0], a[1], times((*b[:-2], b[-1])))
    batch = times(_broadcast(a[:-2], b[:-2]))
    return Contraction(left, right, a[-2], a[-1], b[-1], batch)


def _broadcast(a: tuple[Size, ...], b: tuple[Size, ...]) -> list[Size]:
    longest = max(len(a), len(b))
    a, b = (ONE,) * (longest - len(a)) + a, (ONE,) * (longest - len(b)) + b
    return [y if x == ONE else x for x, y in zip(a, b, strict=True)]


def _einsum(trace: Exported, node: Node) -> Contraction | None:
    operands = node.args[1]
    if not isinstance(operands, list | tuple) or len(operands) != 2:
        raise refused(node, "an einsum of other than two operands", "one product after the other")
    left, right = operands
    shapes = [trace.shape(left), trace.shape(right)]  # type: ignore[arg-type]
    a, b, out = letters(str(node.args[0]), [len(s) for s in shapes])
    sizes = {**dict(zip(b, shapes[1], strict=True)), **dict(zip(a, shapes[0], strict=True))}
    summed = [i for i in a if i in b and i not in out]
    if len({*a}) < len(a) or len({*b}) < len(b):
        raise refused(node, "an einsum that takes a diagonal")
    if not summed:
        return None

    def size(chosen: list[str]) -> Size:
        return times(sizes[i] for i in chosen)

    m, n = size([i for i in a if i in out and i not in b]), size([i for i in b if i in out and i not in a])
    shared = size([i for i in a if i in b and i in out])
    return Contraction(left, right, m, size(summed), n, shared)  # type: ignore[arg-type]


def letters(equation: str, ranks: list[int]) -> tuple[str, str, str]:
    """Letters of the two operands and of the result of an equation; an ellipsis becomes digits, aligned at its end."""
    given, arrow, out = equation.replace(" ", "").partition("->")
    terms = given.split(",")
    spare = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    widest = "".join(str(i) for i, _ in zip(count(), range(max(spare)), strict=False))
    a, b = (term.replace("...", widest[len(widest) - n :]) for term, n in zip(terms, spare, strict=True))
    if not arrow:
        out = "..." + "".join(sorted(i for i in {*a, *b} if (a + b).count(i) == 1 and not i.isdigit()))
    return a, b, out.replace("...", widest)


def _convolution(trace: Exported, node: Node) -> Contraction:
    """Each output position is a row, each filter an output, each tap of its input channels an input."""
    x, weight, *rest = _operands(node)
    filters, *taps = trace.shape(weight)
    sequences, _, *positions = trace.shape(node)
    bias = rest[0] if rest else None
    return Contraction(x, weight, times((sequences, *positions)), times(taps), filters, bias=bias)


def _operands(node: Node) -> list[Node]:
    """Tensors among the arguments, in order, by position or by name."""
    given: list[Any] = [*node.args, *node.kwargs.values()]
    return [a for a in given if hasattr(a, "meta") and hasattr(a.meta.get("val"), "shape")]


CONTRACTIONS: dict[str, Callable[[Exported, Node], Contraction | None]] = {
    "linear": _linear,
    "mm": _matmul, "bmm": _matmul, "matmul": _matmul, "mv": _matmul, "dot": _matmul,
    "addmm": _added, "baddbmm": _added,
    "einsum": _einsum,
    "conv1d": _convolution, "conv2d": _convolution, "conv3d": _convolution,
}  # fmt: skip
