"""H2O (Zhang et al., arXiv 2306.14048): heavy hitters, which all queries so far paid most to, and the newest tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.runtime.cache.policy import Held, Policy, check_window, with_newest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class H2O(Policy):
    """Attention summed over all queries and over the query heads of a group.

    Parameters
    ----------
    recent : int
        Newest tokens that stay; the paper halves the budget.
    """

    recent: int = 512

    def __post_init__(self) -> None:
        check_window(self.budget.keep, self.recent, 0)

    @property
    def sums(self) -> bool:
        return True

    def scores(self, held: Held) -> Tensor:
        return with_newest(held.summed()[0], self.recent)
