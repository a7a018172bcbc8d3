"""Ada-KV (Feng et al., arXiv 2407.11550): the heads of a layer share its budget by where the votes are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.adakv import AdaKV as Adaptive
from dovetail.runtime.cache.policy import Policy


@method("adakv")
@dataclass(frozen=True, slots=True)
class AdaKV(Selects):
    """Keep what a window of queries votes for, as SnapKV: `keep` tokens of each KV head on average over a layer.

    Votes are compared over all heads of a layer, each of which keeps at least `safeguard` of an equal share.
    """

    keep: int = 1024  # tokens of each KV head
    window: int = 32  # newest queries, which vote
    kernel: int = 7  # neighbours that share a vote
    slack: int = 64  # tokens between two selections
    group: str = "mean"  # how the votes of the query heads of a group are joined: mean, or max
    safeguard: float = 0.2  # part of an equal share that every head keeps

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8, 5, 8), cls(16, 4, 3, 1, "max", 0.5)

    def policy(self) -> Policy:
        return Adaptive(Budget(self.keep, self.slack), self.window, self.kernel, self.group, self.safeguard)
