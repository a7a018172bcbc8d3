"""StreamingLLM (Xiao et al., arXiv 2309.17453): the first tokens, which attention sinks into, and the newest ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.runtime.cache.policy import Held, Policy, check_window

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Window(Policy):
    """Tokens keep the positions that they have in the text; the paper counts positions within the cache.

    Parameters
    ----------
    sink : int
        First tokens of the text, which stay.
    """

    sink: int = 4

    def __post_init__(self) -> None:
        check_window(self.budget.keep, self.sink, 0)

    def scores(self, held: Held) -> Tensor:
        import torch

        order = torch.arange(held.tokens, dtype=torch.float32, device=held.keys.device)
        order[: self.sink] = float("inf")
        return order.expand(len(held.keys), -1)
