"""Which scores a mask leaves: read from its values at one length, for it depends on positions alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.lazy import require
from dovetail.model.traced.atens import SHAPES, aten
from dovetail.model.traced.export import Exported, refused

if TYPE_CHECKING:
    from torch.fx import Node

SHORTEST = 16
LENGTH = 1024  # positions of a mask that are looked at: 1 MiB of scores
MASKED = -1e4  # a score below it takes no part in the softmax: exp(-1e4) is 0 in every format


@dataclass(frozen=True, slots=True)
class Seen:
    """Whether queries see only what is before them, and how much of it (None: all)."""

    causal: bool
    window: int | None = None


def seen(trace: Exported, node: Node, scores: Node | None = None) -> Seen:
    """What the mask `node` leaves visible; with `scores`, what is left of zeros put in that node's place.

    Raises
    ------
    DovetailError
        The mask depends on the data or on tensors without values, or it is neither full nor causal nor a window.
    """
    torch = require("torch", "torch")
    length, values = _longest(trace, node, scores)
    visible = values if values.dtype == torch.bool else values > MASKED
    visible = visible.reshape(-1, *visible.shape[-2:])
    if not bool((visible == visible[:1]).all()):
        raise refused(node, "its heads or sequences see different positions")
    return _pattern(torch, node, visible[0].expand(length, length))


def _longest(trace: Exported, node: Node, scores: Node | None) -> tuple[int, Any]:
    """A mask over as many positions as it has, up to `LENGTH`: a buffer may hold fewer."""
    length = min(LENGTH, trace.longest or LENGTH)
    while True:
        try:
            return length, _evaluated(trace, node, scores, length)
        except LookupError as error:
            raise refused(node, f"it makes a mask of '{error.args[0]}', whose values are not known") from None
        except RuntimeError as error:  # sizes that do not fit one another
            if length < 2 * SHORTEST:
                raise refused(node, f"its mask cannot be evaluated: {error}") from None
            length //= 2


def _pattern(torch: Any, node: Node, visible: Any) -> Seen:
    length = len(visible)
    if bool(visible.all()):
        return Seen(False)
    past = torch.ones(length, length, dtype=torch.bool).tril()
    if bool((visible == past).all()):
        return Seen(True)
    window = int(visible[-1].sum())
    if bool((visible == past.triu(1 - window)).all()):
        return Seen(True, window)
    raise refused(node, "a mask that is neither full, nor causal, nor a sliding window")


def _evaluated(trace: Exported, node: Node, scores: Node | None, length: int) -> Any:
    """The value of a node for one sequence, by running only what it is made of."""
    torch = require("torch", "torch")
    wanted, shaped = _ancestors(node, scores)
    values = _held(trace)
    for each in trace.nodes:
        if each in shaped and each not in wanted:
            extents = [int(size.at(1, length)) for size in trace.shape(each)]
            values[each] = torch.zeros(extents, dtype=torch.float32 if each is scores else each.meta["val"].dtype)
        elif each in wanted and each not in values:
            values[each] = _value(torch, trace, each, values)
    return values[node]


def _value(torch: Any, trace: Exported, node: Node, values: dict[Any, Any]) -> Any:
    """The value of one node; `LookupError` where it is the data, a parameter, or a buffer on the meta device."""
    if node.op == "get_attr":
        return getattr(trace.program.graph_module, str(node.target))
    if node.op == "placeholder":
        if hasattr(node.meta.get("val"), "shape"):
            raise LookupError(node.name)
        return node.meta.get("val")
    from torch.fx.node import map_arg

    def known(argument: Any) -> Any:
        if isinstance(argument, tuple | list):
            return [known(each) for each in argument]
        return torch.device("cpu") if isinstance(argument, torch.device) else argument

    args, kwargs = map_arg((node.args, dict(node.kwargs)), lambda n: values[n])
    return node.target(*map(known, args), **{k: known(v) for k, v in kwargs.items()})  # type: ignore[operator]


def _ancestors(node: Node, scores: Node | None) -> tuple[set[Node], set[Node]]:
    """What `node` is made of, and the nodes of which only the shape is used; `scores` is one of those."""
    found: set[Node] = set()
    shaped = {scores} if scores is not None else set()
    left = [node]
    while left:
        each = left.pop()
        if each in found or each is scores:
            continue
        found.add(each)
        if aten(each) in SHAPES:
            shaped |= {n for n in each.all_input_nodes if hasattr(n.meta.get("val"), "shape")}
            left += [n for n in each.all_input_nodes if not hasattr(n.meta.get("val"), "shape")]
        else:
            left += each.all_input_nodes
    return found, shaped


def _held(trace: Exported) -> dict[Any, Any]:
    """Buffers and constants that have values."""
    signature, program = trace.program.graph_signature, trace.program
    names = {**signature.inputs_to_buffers, **signature.inputs_to_lifted_tensor_constants}
    stored = {**program.state_dict, **program.constants, **dict(trace.module.named_buffers())}
    tensors = {n: stored.get(names.get(n.name, "")) for n in trace.nodes if n.op == "placeholder"}
    return {n: t for n, t in tensors.items() if t is not None and not t.is_meta}
