"""Keys that the first positions of a sequence see together, under windows, compression and blocks: closed forms.

`queries` positions are counted from the first on; arrays of design points broadcast.
"""

from __future__ import annotations

import numpy as np

from dovetail.core.formats import Number


def in_chunks(queries: Number, size: int) -> Number:
    """Keys seen by the first `queries` positions together when each sees its own chunk up to itself."""
    whole, rest = queries // size, queries % size
    return whole * (size * (size + 1) / 2) + rest * (rest + 1) / 2


def compressed(queries: Number, rate: int, widest: Number) -> Number:
    """Keys seen by the first `queries` positions together: position i (from 1) sees ``min(i // rate, widest)``."""
    growing = np.minimum(queries, widest * rate)
    whole, rest = growing // rate, growing % rate
    return rate * (whole * (whole - 1) / 2) + whole * (rest + 1) + widest * (queries - growing)


def in_blocks(queries: Number, block: int, selected: int, kv_len: Number) -> Number:
    """Keys when each sees whole blocks, `selected` keys at most, and its own block up to itself; or all where fewer."""
    growing = np.minimum(queries, np.minimum(kv_len, selected))
    rest = queries - growing
    full = rest * (selected - block) + in_chunks(rest, block)
    return growing * (growing + 1) / 2 + np.where(kv_len < selected, rest * kv_len, full)
