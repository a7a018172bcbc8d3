"""How an attention call is cut into tiles: how many, how long each, and when a set of cores is done with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.hardware.kernels import AttentionKernel
from dovetail.model.operators import Attention


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of a call; arrays broadcast over design points.

    Parameters
    ----------
    count : Number
        All tiles of the call; `sequences` is how many sequences they belong to.
    rows, filled, keys : Number
        Query rows of one tile, how many of them hold something, and keys of a block.
    shortest, mean, longest : Number
        Blocks of keys that the shortest tile, the mean one and the longest one see.
    """

    count: Number
    sequences: Number
    rows: Number
    filled: Number
    keys: Number
    shortest: Number
    mean: Number
    longest: Number


def tiles(attention: Attention, kernel: AttentionKernel) -> Tiles:
    """Cut a call into the tiles of `kernel`.

    The tiles of a causal call see more blocks of keys in even steps, from the first to the last; a window cuts the
    long ones. It is not aligned to blocks, so it touches ``(window + tokens of the tile - 2) / keys + 1`` on average.
    """
    length, tokens = _in_view(attention)
    folded = np.where(kernel.folds_prefill | (np.asarray(tokens) == 1), attention.heads / attention.kv_heads, 1.0)
    keys = np.maximum(kernel.keys * 128 / np.maximum(attention.head_dim, 128), 64)
    rows = np.where(np.asarray(attention.head_dim) <= 64, kernel.narrow_rows, kernel.rows)
    per_head = np.ceil(attention.tokens * folded / rows)
    longest = widest = np.ceil(length / keys)
    reach = np.maximum(length, tokens)  # where a recipe has cut the cache below the tokens, no view passes its length
    start, last = np.ceil((reach - tokens + 1) / keys), np.ceil(reach / keys)
    if not attention.causal:
        start = last = longest
    first = start + (last - start) / np.ceil(tokens * folded / rows)
    shortest = np.minimum(start, longest)
    for limit in (attention.selected, None if attention.chunked else attention.window):
        if limit is None:
            continue
        shortest = np.minimum(shortest, (limit - 1) / keys + 1)
        widest = np.minimum(widest, (limit + attention.tokens / per_head - 2) / keys + 1)
        longest = np.minimum(longest, (limit + np.minimum(rows, attention.tokens) - 2) / keys + 1)
    return Tiles(
        count=attention.batch * attention.heads / folded * per_head,
        sequences=attention.batch,
        rows=rows,
        filled=np.minimum(attention.tokens * folded, rows),
        keys=keys,
        shortest=shortest,
        mean=_clipped_mean(first, last, widest),
        longest=longest,
    )


def _in_view(attention: Attention) -> tuple[Number, Number]:
    """Keys that the newest token sees and tokens that see ever more; a chunked view starts anew with every chunk."""
    if attention.window is None or not attention.chunked:
        return attention.kv_len, attention.tokens
    return np.minimum(attention.span, attention.window), np.minimum(attention.tokens, attention.window)


def _clipped_mean(first: Number, last: Number, most: Number) -> Number:
    """Mean of lengths that grow evenly from `first` to `last`, none above `most`."""
    bend = np.clip(most, first, last)
    return np.minimum(bend - (bend - first) ** 2 / (2 * np.maximum(last - first, 1e-9)), most)


def makespan(tiles: Tiles, fixed_s: Number, block_s: Number, cores: Number, longest_last: bool) -> Number:
    """Seconds until `cores`, one tile at a time each, are done with `tiles` of `fixed_s` and `block_s` a block.

    List scheduling (Graham, SIAM J. Appl. Math. 17(2), 1969) takes the largest of three: the work shared evenly; the
    longest tile after those that are started before it; whole waves of the shortest tile. Equal tiles take the third,
    causal calls the first or the second. Where the longest are started first, they wait for earlier sequences alone.
    """
    mean_s = fixed_s + tiles.mean * block_s
    waves = tiles.count / cores
    before = waves if longest_last else waves * (1.0 - 1.0 / tiles.sequences)
    tail = np.maximum(before - 1.0, 0.0) * mean_s + fixed_s + tiles.longest * block_s
    whole = np.ceil(waves) * (fixed_s + tiles.shortest * block_s)
    return np.maximum(np.maximum(waves * mean_s, tail), whole)
