"""PyramidKV (Cai et al., arXiv 2406.02069): lower layers, whose attention is spread, keep more than upper ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.pyramid import PyramidKV as Pyramid
from dovetail.runtime.cache.policy import Policy


@method("pyramidkv")
@dataclass(frozen=True, slots=True)
class PyramidKV(Selects):
    """Keep what a window of queries votes for, as SnapKV: `keep` tokens of each KV head on average over the layers.

    Budgets fall from layer to layer in equal steps, to one in `steep` of the mean beside the window.
    """

    keep: int = 1024  # tokens of each KV head
    window: int = 32  # newest queries, which vote
    kernel: int = 7  # neighbours that share a vote
    slack: int = 64  # tokens between two selections
    group: str = "mean"  # how the votes of the query heads of a group are joined: mean, or max
    steep: float = 20.0  # how much less than the mean the last layer keeps

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8, 5, 8), cls(16, 4, 3, 1, "max", 2.0)

    def policy(self) -> Policy:
        return Pyramid(Budget(self.keep, self.slack), self.window, self.kernel, self.group, self.steep)
