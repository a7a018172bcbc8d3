"""What decides which tokens a cache goes on with: a score for each, and how the budget is spread over the heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.runtime.cache.budget import Budget
from dovetail.runtime.cache.choosing import best, best_whole, stepped

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Held:
    """Tokens of one sequence in one layer, oldest first, of KV heads that hold equally many.

    Parameters
    ----------
    keys, values : Tensor (heads, tokens, channels)
        Keys as they are attended: turned by their rotary angles.
    queries : Tensor (heads, group, n, channels) or None
        Of the newest `n` tokens, for the query heads that share each KV head; where the policy asks for them.
    sums : Tensor (heads, tokens) or None
        Attention that each token got from all queries so far, summed over a group; where the policy asks for it.
    positions : Tensor (heads, tokens) or None
        Of the tokens in the text; where the policy asks for sums.
    length : int
        Tokens of the text.
    """

    keys: Tensor
    values: Tensor
    queries: Tensor | None
    sums: Tensor | None
    positions: Tensor | None
    length: int

    @property
    def tokens(self) -> int:
        return self.keys.shape[1]

    def heads(self) -> Iterator[Held]:
        """Each KV head by itself: scores of all at once would take more memory than the keys."""
        for head in range(len(self.keys)):
            own, noted = slice(head, head + 1), (self.queries, self.sums, self.positions)
            queries, sums, positions = (None if part is None else part[own] for part in noted)
            yield Held(self.keys[own], self.values[own], queries, sums, positions, self.length)

    def attention(self) -> Tensor:
        """What the newest queries pay to each token: (heads, group, n, tokens), in fp32; each sees those before it."""
        import torch

        if self.queries is None:
            raise ValueError("no queries")
        count, keys = self.queries.shape[2], self.keys.float().unsqueeze(1)
        scores = (self.queries.float() * self.keys.shape[2] ** -0.5) @ keys.transpose(2, 3)
        later = torch.ones(count, count, dtype=torch.bool, device=scores.device).triu(1)
        scores[..., self.tokens - count :].masked_fill_(later, float("-inf"))
        scores.sub_(scores.amax(-1, keepdim=True)).exp_()  # in place: of a long prompt these are larger than its keys
        paid: Tensor = scores.div_(scores.sum(-1, keepdim=True))
        return paid

    def summed(self) -> tuple[Tensor, Tensor]:
        """`sums` and `positions`, of a policy that asked for them."""
        if self.sums is None or self.positions is None:
            raise ValueError("no sums of attention")
        return self.sums, self.positions


@dataclass(frozen=True, slots=True)
class Policy:
    """Which tokens stay: those with the highest `scores`; a subclass says what they are.

    Parameters
    ----------
    budget : Budget
    """

    budget: Budget

    @property
    def observed(self) -> int:
        """Newest queries that the scores are made from."""
        return 0

    @property
    def sums(self) -> bool:
        """Whether scores are made from the attention of all queries."""
        return False

    def scores(self, held: Held) -> Tensor:
        """The worth (heads, tokens) of each token; infinite for those that have to stay."""
        raise NotImplementedError

    def kept(self, length: Number, layer: int, layers: int) -> Number:
        """Tokens of each head, on average, of a text of `length` that a layer goes on with; arrays broadcast."""
        return self.budget.held(length)

    def spread(self, scores: Sequence[Tensor], kept: int) -> list[int]:
        """Tokens that each head of a layer keeps, from the scores (tokens,) of each."""
        return [min(kept, len(row)) for row in scores]

    def chosen(self, scores: Sequence[Tensor], kept: int, step: int = 1, grouped: Sequence[int] = ()) -> list[Tensor]:
        """Places of the tokens that stay in each head, in their order.

        Parameters
        ----------
        step : int
            Heads differ by multiples of it: of the tokens of a group, so that all of them fill their groups together.
        grouped : sequence of int
            Groups of `step` tokens that are packed in each head, its first ones: these stay or go whole, where that
            gives the same count.
        """
        bounds = [(int((row == float("inf")).sum()), len(row)) for row in scores]
        counts = stepped(self.spread(scores, kept), kept, step, bounds)
        packed = zip(scores, counts, grouped or [0] * len(scores), strict=True)
        return [
            best(row, count) if not groups else best_whole(row, count, groups, step) for row, count, groups in packed
        ]


def with_newest(scores: Tensor, newest: int) -> Tensor:
    """Scores (heads, tokens) of which the newest tokens' are infinite: these stay."""
    scores = scores.clone()
    scores[:, max(0, scores.shape[1] - newest) :] = float("inf")
    return scores


def check_window(keep: int, window: int, least: int = 1) -> None:
    """Raise `DovetailError` for a window out of range, or a budget that the tokens which have to stay would fill."""
    if window < least:
        raise DovetailError(f"a window of {window} tokens", where="window", hint=f"32: {least} or more")
    if keep <= window:
        why = f"{window} tokens have to stay, and leave room for no others"
        hint = f"keep={4 * max(window, 1)}, or fewer that have to stay"
        raise DovetailError(f"a budget of {keep} tokens", where="keep", why=why, hint=hint)
