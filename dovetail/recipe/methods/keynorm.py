"""Key norms (Devoto et al., arXiv 2406.11430): keys of a small norm get most attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.keynorm import KeyNorm as ShortKeys
from dovetail.runtime.cache.policy import Policy


@method("keynorm")
@dataclass(frozen=True, slots=True)
class KeyNorm(Selects):
    """Keep `keep` tokens of each KV head: the newest `recent`, and those with the shortest keys; no query is asked."""

    keep: int = 1024  # tokens of each KV head
    recent: int = 32  # newest tokens
    slack: int = 64  # tokens between two selections

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8, 8), cls(16, 1, 1)

    def policy(self) -> Policy:
        return ShortKeys(Budget(self.keep, self.slack), self.recent)
