"""H2O (Zhang et al., arXiv 2306.14048): heavy hitters, which all queries so far paid most to, and the newest tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.h2o import H2O as HeavyHitters
from dovetail.runtime.cache.policy import Policy


@method("h2o")
@dataclass(frozen=True, slots=True)
class H2O(Selects):
    """Keep `keep` tokens of each KV head: the newest, and those with the largest sum of attention from all queries.

    Fused attention gives no weights, so a prompt is attended by two products instead, which takes longer.
    """

    keep: int = 1024  # tokens of each KV head
    recent: float = 0.5  # part of them that is the newest tokens
    slack: int = 64  # tokens between two selections

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, slack=8), cls(16, 0.25, 1)

    def policy(self) -> Policy:
        return HeavyHitters(Budget(self.keep, self.slack), int(self.recent * self.keep))
