"""Observed attention: what a token got on average from the queries that saw it (as kvpress has it)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.runtime.cache.policy import Held, Policy, check_window, with_newest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ObservedAttention(Policy):
    """H2O's sums without its preference for old tokens, which more queries have seen.

    Parameters
    ----------
    recent : int
        Newest tokens that stay: few queries have seen them.
    """

    recent: int = 32

    def __post_init__(self) -> None:
        check_window(self.budget.keep, self.recent, 0)

    @property
    def sums(self) -> bool:
        return True

    def scores(self, held: Held) -> Tensor:
        summed, positions = held.summed()
        return with_newest(summed / (held.length - positions), self.recent)
