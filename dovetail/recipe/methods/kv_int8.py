"""Keys and values of 8 bits: keys by channel, values by token (KIVI, Liu et al., arXiv 2402.02750)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.model.kv_groups import KVGroups
from dovetail.recipe.caching import Packs
from dovetail.recipe.method import method


@method("kv-int8")
@dataclass(frozen=True, slots=True)
class KVInt8(Packs):
    """Pack whole groups of `group` tokens as 8-bit integers; the newest tokens stay floats until they fill one.

    Keys have a scale and a zero for each channel of a group, values for each `share` channels of a token.
    """

    group: int = 32  # tokens
    share: int = 32  # channels

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(8, 8), cls(5, 64)

    def groups(self) -> KVGroups:
        return KVGroups(8, self.group, self.share)
