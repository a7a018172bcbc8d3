"""Attention in a trace: the fused operator, or a product, a softmax over the keys, and a second product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.model.operators import Attention
from dovetail.model.traced.atens import ON_SCORES, SOFTMAX, VIEWS, aten
from dovetail.model.traced.contractions import CONTRACTIONS, Contraction, letters
from dovetail.model.traced.export import refused
from dovetail.model.traced.flow import Flow, root
from dovetail.model.traced.masks import Seen, seen
from dovetail.model.traced.size import BATCH, TOKENS, Size, times

if TYPE_CHECKING:
    from torch.fx import Node

FUSED = "scaled_dot_product_attention"


@dataclass(frozen=True, slots=True)
class Found:
    """An attention, what it keeps (keys and values), and what it is made of beside the node where it ends."""

    attention: Attention
    kept: tuple[Node, Node]
    inner: frozenset[Node] = frozenset()


def attentions(flow: Flow) -> dict[Node, Found]:
    """Every attention of a trace, by the node where it ends."""
    found: dict[Node, Found] = {}
    for node in flow.trace.nodes:
        if node not in flow.data or node.op != "call_function":
            continue
        if aten(node) == FUSED:
            found[node] = _fused(flow, node)
        elif aten(node) in SOFTMAX and (match := _around(flow, node)):
            found[match.last] = _eager(flow, match)
    return found


def _fused(flow: Flow, node: Node) -> Found:
    given = dict(zip(("query", "key", "value", "attn_mask", "dropout_p", "is_causal"), node.args, strict=False))
    given |= node.kwargs
    query, key, value = given["query"], given["key"], given["value"]
    *rows, head_dim = flow.trace.shape(query)  # type: ignore[arg-type]
    heads = times(rows).over(BATCH * TOKENS)
    if given.get("is_causal"):
        mask = Seen(True)
    else:
        mask = seen(flow.trace, given["attn_mask"]) if given.get("attn_mask") is not None else Seen(False)  # type: ignore[arg-type]
    value_dim = flow.trace.shape(value)[-1]  # type: ignore[arg-type]
    attention = _attention(flow, node, key, value, heads, head_dim, value_dim, mask)  # type: ignore[arg-type]
    return Found(attention, (root(key), root(value)))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Match:
    """Scores = `first`, softmax, weighted sum = `last`; `second` has the probabilities on its left."""

    scores: Node
    softmax: Node
    last: Node
    first: Contraction
    second: Contraction
    inner: frozenset[Node]


def _around(flow: Flow, softmax: Node) -> _Match | None:
    """The two products around a softmax over tokens; None where it is not attention's."""
    if flow.trace.shape(softmax)[-2:] != (TOKENS, TOKENS):
        return None
    above, below = [*_above(flow, softmax)], [*_below(flow, softmax)]
    if not above or not below or aten(above[-1]) not in CONTRACTIONS or aten(below[-1]) not in CONTRACTIONS:
        return None
    scores, last = above[-1], below[-1]
    first = CONTRACTIONS[aten(scores)](flow.trace, scores)
    second = CONTRACTIONS[aten(last)](flow.trace, last)
    if first is None or second is None:
        return None
    if aten(scores) == "einsum" and _keys_first(flow, scores):
        first = first.turned()
    before = below[-2] if len(below) > 1 else softmax
    if second.right is before:
        second = second.turned()
    return _Match(scores, softmax, last, first, second, frozenset([*above, softmax, *below[:-1]]))


def _above(flow: Flow, node: Node) -> Iterator[Node]:
    """From a softmax up to what made its scores, as long as one operand alone depends on the data."""
    while True:
        made_of = [n for n in node.all_input_nodes if n in flow.data]
        if len(made_of) != 1:
            return
        node = made_of[0]
        yield node
        if aten(node) not in ON_SCORES | VIEWS:
            return


def _below(flow: Flow, node: Node) -> Iterator[Node]:
    """From a softmax down to the only node that uses its probabilities."""
    while True:
        users = [u for u in node.users if u in flow.data and u.meta.get("val") is not None]
        if len(users) != 1:
            return
        node = users[0]
        yield node
        if aten(node) not in ON_SCORES | VIEWS:
            return


def _keys_first(flow: Flow, scores: Node) -> bool:
    """Whether the last letter of an einsum's result, the keys, is one of its first operand's."""
    operands: Any = scores.args[1]
    ranks = [len(flow.trace.shape(operand)) for operand in operands]
    a, b, out = letters(str(scores.args[0]), ranks)
    return out[-1] in a and out[-1] not in b


def _eager(flow: Flow, match: _Match) -> Found:
    first, second = match.first, match.second
    heads = (first.batch * first.m * first.n).over(BATCH * TOKENS * TOKENS)
    mask = seen(flow.trace, match.softmax.args[0], match.scores)  # type: ignore[arg-type]
    if first.bias is not None:  # a mask that the product itself adds
        if mask.causal:
            raise refused(match.scores, "its scores are masked twice")
        mask = seen(flow.trace, first.bias)
    value_dim = (second.batch * second.m * second.n).over(BATCH * TOKENS * Size.of(heads or 1))
    found = None if value_dim is None else Size.of(value_dim)
    attention = _attention(flow, match.last, first.right, second.right, heads, first.k, found, mask)
    return Found(attention, (root(first.right), root(second.right)), match.inner)


def _attention(
    flow: Flow, node: Node, keys: Node, values: Node, heads: int | None, head_dim: Size, value_dim: Size | None,
    mask: Seen,
) -> Attention:  # fmt: skip
    """The operator, its KV heads counted where keys have not been repeated yet."""
    channels, cached = head_dim.constant, value_dim.constant if value_dim else None
    if heads is None or not channels or not cached:
        raise refused(node, "not one query for each token and head")
    kv_heads = flow.smallest(keys).over(BATCH * TOKENS * head_dim)
    if kv_heads is None or flow.smallest(values).over(BATCH * TOKENS * Size.of(cached)) != kv_heads:
        raise refused(node, "keys and values are not those of the new tokens, or differ in their heads")
    return Attention(
        "attention", batch=BATCH, tokens=TOKENS, kv_len=TOKENS, heads=heads, kv_heads=kv_heads, head_dim=channels,
        window=mask.window, value_dim=None if cached == channels else cached, causal=mask.causal,
    )  # fmt: skip
