"""Channels of latent attention (MLA, arXiv 2405.04434), as its kernels need them, expanded or absorbed."""

from __future__ import annotations

from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True, eq=False)
class LatentShape(ByContent):
    """What every head shares or expands to.

    Parameters
    ----------
    rank, rope : Number
        Channels of the cached latent, and of the cached key with positions, both the same for all heads.
    nope, values : Number
        Channels of a head's key without positions and of its value, once expanded.
    """

    rank: Number
    rope: Number
    nope: Number
    values: Number

    @property
    def cached(self) -> Number:
        """Elements of one cached token."""
        return self.rank + self.rope
