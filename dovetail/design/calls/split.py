"""Which shapes constants are fitted on: few, by their hash, so that everybody takes the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from dovetail.design.kernel_fit import FIT_PERCENT, for_fit


def shapes_for_fit(shapes: Iterable[str], least: int) -> frozenset[str]:
    """The 5 % of shapes to fit on; where these are too few, `least` shapes, at most half, those of the lowest hash.

    Parameters
    ----------
    shapes : iterable of str
        ``"n,k"`` of products, ``"heads,kv_heads"`` of attention; repeated ones count once.
    least : int
        So many where 5 % are fewer than two or than half of this.
    """
    known = set(shapes)
    low = {shape for shape in known if for_fit(shape.split(","))}
    half = len(known) // 2
    if max(2, least // 2) <= len(low) <= half:
        return frozenset(low)
    count = max(-(-len(known) * FIT_PERCENT // 100), min(least, half))
    return frozenset(sorted(known, key=_hash)[:count])


def _hash(shape: str) -> int:
    return int(hashlib.sha1(shape.encode()).hexdigest(), 16)
