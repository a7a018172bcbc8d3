"""Attention and rotary positions."""

from __future__ import annotations

import math
from typing import Any

from dovetail.accel.frontend.reader import Reader, matches, shape
from dovetail.accel.frontend.trace import kind
from dovetail.accel.graph import Attention, Rotary


@matches("aten.scaled_dot_product_attention.default")
def attention(reader: Reader, node: Any) -> str | None:
    """Fused attention with a causal mask, its keys and values repeated for the heads of a group or not."""
    query, key, value, *rest = node.args
    mask = rest[0] if rest else node.kwargs.get("attn_mask")
    causal = (rest[2] if len(rest) > 2 else False) or node.kwargs.get("is_causal", False)
    _check_causal(reader, node, mask, causal)
    _, heads, _, width = shape(query)
    names = tuple(reader.tensor(each) for each in (query, _unrepeated(reader, key), _unrepeated(reader, value)))
    kv_heads = reader.channels(names[1]) // width
    if heads * width != reader.channels(names[0]) or heads % kv_heads or reader.channels(names[2]) != kv_heads * width:
        raise reader.refused(node, f"{heads} heads of {width} channels do not fit keys and values of {kv_heads}")
    scale = float(node.kwargs.get("scale") or 1 / math.sqrt(width))
    return reader.add(Attention(reader.name(node, ".attention"), names, heads * width, heads, kv_heads, scale))


def _check_causal(reader: Reader, node: Any, mask: Any, causal: bool) -> None:
    torch, tokens = reader.trace.torch, shape(node.args[0])[2]
    if mask is None:
        seen_all = causal
    elif not reader.constant(mask):
        raise reader.refused(node, "its mask depends on the data")
    else:
        found = reader.trace.value(mask)
        visible = found if found.dtype == torch.bool else found == 0
        lower = torch.ones(tokens, tokens, dtype=torch.bool).tril()
        seen_all = bool((visible.reshape(-1, tokens, tokens).cpu() == lower).all())
    if not seen_all:
        raise reader.refused(node, "only causal attention to all tokens before is supported: no window, no encoder")


def _unrepeated(reader: Reader, node: Any) -> Any:
    """Keys or values before they were repeated for the heads of a group."""
    node = reader.trace.bare(node)
    if kind(node) == "aten.repeat_interleave.self_int" and node.args[2] == 1:
        return node.args[0]
    if kind(node) not in ("aten.reshape.default", "aten.view.default"):
        return node
    wide = reader.trace.bare(node.args[0])
    if kind(wide) != "aten.expand.default":
        return node
    narrow = reader.trace.bare(wide.args[0])
    return narrow.args[0] if kind(narrow) == "aten.unsqueeze.default" and narrow.args[1] == 2 else node


@matches("aten.add.Tensor")
def rotary(reader: Reader, node: Any) -> str | None:
    """``x * cos + rotate_half(x) * sin``."""
    left, right = (reader.trace.bare(each) for each in node.args[:2])
    if kind(left) != "aten.mul.Tensor" or kind(right) != "aten.mul.Tensor":
        return None
    (x, cosine), (turned, sine) = left.args, right.args
    halves = reader.trace.bare(turned)
    if kind(halves) != "aten.cat.default" or not (reader.constant(cosine) and reader.constant(sine)):
        return None
    negated, first = (reader.trace.bare(each) for each in halves.args[0])
    width = shape(node)[-1]
    if kind(negated) != "aten.neg.default" or kind(first) != "aten.slice.Tensor":
        return None
    last = reader.trace.bare(negated.args[0])
    if shape(first)[-1] * 2 != width or first.args[2] != 0 or last.args[2] != width // 2 or first.args[0] is not x:
        raise reader.refused(node, "only whole heads are rotated, in halves")
    source = reader.tensor(x)
    tables = [reader.array(each).reshape(-1, width)[:, : width // 2] for each in (cosine, sine)]
    return reader.add(
        Rotary(f"{source}.rotated", (source,), reader.channels(source), reader.channels(source) // width, *tables)
    )
