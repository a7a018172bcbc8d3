"""Time of multi-head latent attention (arXiv 2405.04434) on a GPU-like chip, between its products.

Long prefills attend over the keys and values that a product expanded for every head:

    time = copies + max(tiles of attention on the cores, memory) + gaps

Decode, and short prefills, attend over the cached latents, the same for all heads, with queries that a product brought
among them; hence one read of the cache for each block of heads:

    time = copies + max(compute, memory) + (1 - overlap) * min(compute, memory) + gaps

The products themselves, between latents and heads, are not here: a graph has them as operators of their own. Copies
bring queries, keys and results into the order that kernels want, and new latents into the cache; gaps are the starts of
all those kernels, one after the other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.kernel import KernelTime
from dovetail.hardware.kernels import ChipFacts, LatentConstants
from dovetail.model.latents import LatentShape
from dovetail.model.operators import Attention

_QUERY_TILE = 128  # queries a core attends with at once, and keys it meets at once
_SURPLUS = 64  # keys of its last blocks that a tile of several tokens meets, and a query on average may not see
_SIZE = 2.0  # bytes of an activation
_PARTIAL = 4.0  # bytes of a result of part of a sequence


def latent_time(
    attention: Attention, chip: ChipFacts, constants: LatentConstants, cache_bytes: Number = 2.0
) -> KernelTime:
    """One layer's call of an attention that has `latents`.

    Parameters
    ----------
    attention : Attention
        Shapes; arrays of points broadcast. Without `latent` it is expanded, but for the prefills of few tokens that
        engines absorb.
    chip : ChipFacts
        With the peak of the activations' dtype: latents are multiplied in it, however they are cached.
    cache_bytes : Number
        Bytes of a cached element.

    Notes
    -----
    Never faster with more sequences, tokens, heads or a longer cache: a prefill that is just too long to be absorbed is
    held to the time of the longest that is, although it may be faster.
    """
    shape = attention.latents
    if shape is None:
        raise TypeError(f"operator '{attention.name}' has no latents")
    if attention.latent:
        return _absorbed(attention, shape, chip, constants, cache_bytes)
    plain = _expanded(attention, shape, chip, constants)
    if not constants.short_tokens:
        return plain
    short = _absorbed(_shortened(attention, constants.short_tokens), shape, chip, constants, cache_bytes)
    few = (np.asarray(attention.tokens) <= constants.short_tokens) | (np.asarray(short.time_s) > plain.time_s)
    return KernelTime(*(np.where(few, getattr(short, f), getattr(plain, f)) for f in KernelTime.__slots__))


def _shortened(attention: Attention, most: int) -> Attention:
    """The same call with at most that many new tokens behind the same context."""
    tokens = np.minimum(attention.tokens, most)
    return replace(attention, tokens=tokens, kv_len=np.minimum(attention.kv_len, _context(attention) + tokens))


def _context(attention: Attention) -> Number:
    """Tokens cached before; none where a recipe keeps fewer than are new."""
    return np.maximum(attention.kv_len - attention.tokens, 0)


def _expanded(attention: Attention, shape: LatentShape, chip: ChipFacts, c: LatentConstants) -> KernelTime:
    """Over keys and values of every head."""
    heads, new, keys = attention.heads, attention.batch * attention.tokens, attention.batch * attention.kv_len
    width = shape.nope + shape.rope
    values = width if c.padded_values else shape.values
    copied = heads * (keys * (shape.nope + width) + new * shape.rope)
    if c.padded_values:
        copied = copied + heads * (keys + new) * (shape.values + width)
    attended = heads * (new + keys) * (width + values)
    copies = copied * _SIZE / (chip.bandwidth * c.pointwise) + new / chip.cores * c.store_s
    memory = attended * _SIZE / (chip.bandwidth * c.memory)
    compute = _tiles_s(attention, width + values, chip, c)
    busy, moved = np.maximum(compute, memory) + copies, (copied + attended) * _SIZE
    return _call(busy, compute, copies + memory, moved, c.expanded_gaps_s)


def _tiles_s(attention: Attention, channels: Number, chip: ChipFacts, c: LatentConstants) -> Number:
    """Tiles of queries, each over the keys before its end that it may see, dealt to the cores."""
    context, tiles = _context(attention), np.ceil(attention.tokens / _QUERY_TILE)
    longest = np.where(attention.kv_len < attention.tokens, attention.kv_len, context + tiles * _QUERY_TILE)
    if attention.selected is not None:
        longest = np.minimum(longest, attention.selected)
    growing = np.clip(np.floor((longest - context) / _QUERY_TILE), 0, tiles)
    keys = growing * context + _QUERY_TILE * growing * (growing + 1) / 2.0 + (tiles - growing) * longest
    pairs = 2.0 * channels * _QUERY_TILE  # FLOPs of one tile per key
    rate, count = chip.peak * c.expanded, attention.batch * attention.heads
    started = count * tiles / chip.cores * c.tile_s
    return count * pairs * keys / rate + started + c.tail * pairs * longest * chip.cores / rate


def _absorbed(
    attention: Attention, shape: LatentShape, chip: ChipFacts, c: LatentConstants, cache_bytes: Number
) -> KernelTime:
    """Over the cached latents: queries of all heads and new tokens of a sequence share them."""
    batch, queries = attention.batch, attention.heads * attention.tokens
    # A query is read and written again with its positions; its result goes the same way back
    copied = batch * queries * (2 * shape.rank + shape.rope + 2 * shape.rank)
    copied = copied + batch * queries * shape.rank * (2 * c.splits * _PARTIAL / _SIZE)  # of each part, written and read
    copies = copied * _SIZE / (chip.bandwidth * c.pointwise) + batch * attention.tokens / chip.cores * c.store_s
    blocks, tiles = np.ceil(attention.heads / c.head_block), np.ceil(queries / c.head_rows)
    fill = np.minimum(batch * blocks * c.splits / chip.cores, 1.0) if c.splits else 1.0
    met = attention.visible + _SURPLUS * (np.asarray(attention.tokens) > 1)
    flops = 2.0 * batch * tiles * c.head_rows * met * (2 * shape.rank + shape.rope)
    compute = flops / (chip.peak * c.absorbed * fill) + batch * tiles / chip.cores * c.tile_s
    cached = batch * _seen(attention) * shape.cached * cache_bytes
    memory = cached * blocks / (chip.bandwidth * c.memory * fill)
    attend = np.maximum(compute, memory) + (1.0 - c.overlap) * np.minimum(compute, memory)
    return _call(attend + copies, compute, copies + memory, cached + copied * _SIZE, c.absorbed_gaps_s)


def _seen(attention: Attention) -> Number:
    """Cached tokens that at least one query reads."""
    if attention.selected is None:
        return attention.span
    return np.minimum(attention.span, attention.tokens * attention.selected)


def _call(busy: Number, compute: Number, memory: Number, moved: Number, gaps_s: Number) -> KernelTime:
    """Busy kernels and what is between them."""
    return KernelTime(busy + gaps_s, compute, memory, gaps_s, moved)
