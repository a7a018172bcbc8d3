"""SnapKV (Li et al., arXiv 2404.14469): the newest queries vote on which tokens before them stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.policy import Held, Policy, check_window

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class SnapKV(Policy):
    """Votes of a window of queries, pooled over neighbours, per KV head: the query heads of a group vote together.

    Parameters
    ----------
    window : int
        Newest queries, which vote; their tokens stay.
    kernel : int
        Neighbouring tokens that share the largest vote among them: details stay with what surrounds them. Odd.
    group : {"mean", "max"}
        How the votes of the query heads of a group are joined.
    """

    window: int = 32
    kernel: int = 7
    group: str = "mean"

    def __post_init__(self) -> None:
        check_window(self.budget.keep, self.window)
        if self.kernel < 1 or self.kernel % 2 == 0:
            raise DovetailError(f"votes pooled over {self.kernel} tokens", where="kernel", hint="7: an odd number")
        if self.group not in ("mean", "max"):
            raise DovetailError(f"votes joined by '{self.group}'", where="group", hint="mean, or max")

    @property
    def observed(self) -> int:
        return self.window

    def scores(self, held: Held) -> Tensor:
        from torch.nn import functional

        attention = held.attention()
        newest = attention.shape[2]
        votes = attention[..., : held.tokens - newest].mean(2)
        pooled = functional.max_pool1d(votes, self.kernel, 1, self.kernel // 2) if votes.shape[-1] else votes
        joined = pooled.mean(1) if self.group == "mean" else pooled.amax(1)
        return functional.pad(joined, (0, newest), value=float("inf"))
