"""SnapKV (Li et al., arXiv 2404.14469): the newest queries vote on which tokens before them stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.policy import Held, Policy


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
    group: Literal["mean", "max"] = "mean"

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
        attention = held.attention()
        newest = attention.shape[2]
        votes = attention[..., : held.tokens - newest].mean(2)
        pooled = functional.max_pool1d(votes, self.kernel, 1, self.kernel // 2) if votes.shape[-1] else votes
        joined = pooled.mean(1) if self.group == "mean" else pooled.amax(1)
        return functional.pad(joined, (0, newest), value=float("inf"))


def check_window(keep: int, window: int) -> None:
    """Raise `DovetailError` for a budget that the newest tokens alone would fill, or none of them."""
    if window < 1:
        raise DovetailError(f"a window of {window} queries", where="window", hint="32: at least one")
    if keep <= window:
        why = f"the {window} newest tokens stay, and leave room for none before them"
        raise DovetailError(f"a budget of {keep} tokens", where="keep", why=why, hint=f"keep={4 * window}, or a window below {keep}")
