"""TOVA (Oren et al., arXiv 2401.06104): the newest query alone says which tokens of the cache stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from dovetail.recipe.caching import Selects
from dovetail.recipe.method import method
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.policies.tova import TOVA as NewestQuery
from dovetail.runtime.cache.policy import Policy


@method("tova")
@dataclass(frozen=True, slots=True)
class TOVA(Selects):
    """Keep `keep` tokens of each KV head: those that the newest query pays most to.

    The paper averages over all heads of a layer; here the query heads that share a KV head decide for it.
    """

    keep: int = 1024  # tokens of each KV head
    slack: int = 64  # tokens between two selections

    @classmethod
    def examples(cls, columns: tuple[int, ...]) -> tuple[Self, ...]:
        return cls(24, 8), cls(16, 1)

    def policy(self) -> Policy:
        return NewestQuery(Budget(self.keep, self.slack))
