"""Key norms (Devoto et al., arXiv 2406.11430): keys of a small norm get most attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.runtime.cache.policy import Held, Policy, check_window, with_newest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class KeyNorm(Policy):
    """Tokens whose keys are short; no query is asked.

    Parameters
    ----------
    recent : int
        Newest tokens that stay.
    """

    recent: int = 32

    def __post_init__(self) -> None:
        check_window(self.budget.keep, self.recent, 0)

    def scores(self, held: Held) -> Tensor:
        return with_newest(-held.keys.float().norm(dim=2), self.recent)
