"""StreamingLLM (Xiao et al., arXiv 2309.17453): the first tokens, which attention sinks into, and the newest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.window import Window
from dovetail.runtime.cache.policy import Policy


@method("kv-window")
@dataclass(frozen=True, slots=True)
class KVWindow(Selects):
    """Keep the first `sink` and the last `keep` tokens of each KV head.

    Tokens keep their positions in the text; the paper counts positions within the cache.
    """

    keep: int = 1024  # newest tokens
    sink: int = 4  # first tokens
    slack: int = 64  # tokens between two selections

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 4, 8), cls(16, 0, 1)

    def policy(self) -> Policy:
        return Window(Budget(self.keep + self.sink, self.slack), self.sink)
