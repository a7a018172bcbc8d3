"""Keys and values of 4 bits: keys by channel, values by token (KIVI, Liu et al., arXiv 2402.02750)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dovetail.recipe.caching import Packs
from dovetail.recipe.method import method


@method("kv-int4")
@dataclass(frozen=True, slots=True)
class KVInt4(Packs):
    """Pack whole groups of `group` tokens as 4-bit integers; the newest tokens stay floats until they fill one."""

    bits: ClassVar[int] = 4
