"""SnapKV (Li et al., arXiv 2404.14469): the newest queries vote on which tokens of the cache stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.snapkv import SnapKV as Votes
from dovetail.runtime.cache.policy import Policy


@method("snapkv")
@dataclass(frozen=True, slots=True)
class SnapKV(Selects):
    """Keep `keep` tokens of each KV head: the newest `window`, and those before them that get most of their votes.

    Votes are pooled over `kernel` neighbours, and joined over the query heads that share a KV head. The cache is cut
    layer by layer while a prompt is read, and again whenever `slack` tokens more have come.
    """

    keep: int = 1024  # tokens of each KV head
    window: int = 32  # newest queries, which vote
    kernel: int = 7  # neighbours that share a vote
    slack: int = 64  # tokens between two selections
    group: str = "mean"  # how the votes of the query heads of a group are joined: mean, or max

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8, 5, 8), cls(16, 4, 3, 1, "max")

    def policy(self) -> Policy:
        return Votes(Budget(self.keep, self.slack), self.window, self.kernel, self.group)
