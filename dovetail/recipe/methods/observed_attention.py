"""Observed attention: what a token got on average from the queries that saw it (as kvpress has it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.observed import ObservedAttention as Observed
from dovetail.runtime.cache.policy import Policy


@method("observed-attention")
@dataclass(frozen=True, slots=True)
class ObservedAttention(Selects):
    """Keep `keep` tokens of each KV head: the newest `recent`, and those with the largest mean attention.

    Fused attention gives no weights, so a prompt is attended by two products instead, which takes longer.
    """

    keep: int = 1024  # tokens of each KV head
    recent: int = 32  # newest tokens, which few queries have seen
    slack: int = 64  # tokens between two selections

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8, 8), cls(16, 2, 1)

    def policy(self) -> Policy:
        return Observed(Budget(self.keep, self.slack), self.recent)
