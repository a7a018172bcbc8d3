"""TOVA (Oren et al., arXiv 2401.06104): the newest query alone says which tokens stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.runtime.cache.policy import Held, Policy, with_newest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TOVA(Policy):
    """What the newest query pays to each token, on average over the query heads of a group.

    The paper averages over all heads of a layer and drops one token a step, which is ``slack=1``.
    """

    @property
    def observed(self) -> int:
        return 1

    def scores(self, held: Held) -> Tensor:
        return with_newest(held.attention()[:, :, -1].mean(1), 1)
