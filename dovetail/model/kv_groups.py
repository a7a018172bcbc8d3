"""Keys and values as packed integers: how many bytes so many tokens take, scales and the newest floats included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number

SCALE_BYTES = 4  # a scale and a zero in bf16


@dataclass(frozen=True, slots=True)
class KVGroups:
    """Whole groups of `size` tokens are packed; the newest tokens stay floats until they fill one.

    Keys have a scale and a zero for each channel of a group, values for each `share` channels of a token: outliers of
    keys lie in channels, those of values in tokens (KIVI, arXiv 2402.02750).

    Parameters
    ----------
    bits : int
        Of a code: 8 or 4.
    size : int
        Tokens of a group.
    share : int
        Channels of a value that share a scale; all of a head that has fewer, or is no multiple.
    """

    bits: int = 4
    size: int = 32
    share: int = 32

    def __post_init__(self) -> None:
        if self.bits not in (4, 8):
            raise DovetailError(f"keys and values of {self.bits} bits", where="bits", hint="4 or 8")
        if not 1 <= self.size <= 1024 or self.share < 1:
            what = f"groups of {self.size} tokens and {self.share} channels"
            raise DovetailError(what, where="group", hint="group=32: 1 to 1024 tokens")

    def shared(self, channels: int) -> int:
        """Channels of a value that really share a scale."""
        return self.share if channels % self.share == 0 else channels

    def group_bytes(self, channels: Number, value_channels: Number) -> Number:
        """Bytes of a whole group of one head."""
        codes = (channels + value_channels) * self.bits // 8 * self.size
        shared = np.where(np.equal(value_channels % self.share, 0), self.share, value_channels)
        return codes + SCALE_BYTES * (channels + self.size * value_channels // shared)

    def bytes(self, tokens: Number, channels: Number, value_channels: Number, float_bytes: float) -> Number:
        """Bytes of `tokens` of one head."""
        groups = np.asarray(tokens) // self.size
        newest = (tokens - groups * self.size) * (channels + value_channels) * float_bytes
        return groups * self.group_bytes(channels, value_channels) + newest
