"""The best tokens of a head: one by one, or by whole groups where they are packed, so that nothing is rounded twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def best(scores: Tensor, count: int) -> Tensor:
    """Places of the `count` tokens with the highest scores (tokens,), in their order; of equal worth the older ones."""
    places: Tensor = scores.argsort(descending=True, stable=True)[:count].sort().values
    return places


def best_whole(scores: Tensor, count: int, groups: int, size: int) -> Tensor:
    """As `best`, of a head whose first `groups` groups of `size` tokens stay or go whole.

    Of all ways to make up `count` from whole groups and single tokens behind them, that with the largest sum of scores.
    Tokens that have to stay do; where no way has them all and the right count, tokens are chosen one by one.
    """
    import torch

    must, packed = scores == float("inf"), groups * size
    finite = scores.masked_fill(must, 0.0).double()
    worth, needed = finite[:packed].reshape(groups, size).sum(1), must[:packed].reshape(groups, size).any(1)
    order, behind = _order(worth, needed), packed + _order(finite[packed:], must[packed:])
    ways = [
        whole
        for whole in range(int(needed.sum()), groups + 1)
        if int(must[packed:].sum()) <= count - whole * size <= len(behind)
    ]
    if not ways:
        return best(scores, count)
    inside, single = (torch.cat((x.new_zeros(1), x.cumsum(0))).tolist() for x in (worth[order], finite[behind]))
    whole = max(ways, key=lambda many: inside[many] + single[count - many * size])
    within = torch.arange(size, device=order.device)
    tokens = (order[:whole, None] * size + within).flatten()
    return torch.cat((tokens, behind[: count - whole * size])).sort().values


def _order(worth: Tensor, needed: Tensor) -> Tensor:
    """Places by worth, those that are needed first; of equal worth the older ones."""
    order = worth.argsort(descending=True, stable=True)
    return order[needed[order].int().argsort(descending=True, stable=True)]


def stepped(counts: Sequence[int], kept: int, step: int, bounds: Sequence[tuple[int, int]]) -> list[int]:
    """Counts that add up to ``len(counts) * kept``, each `kept` and a multiple of `step`: as near as that comes.

    Parameters
    ----------
    bounds : sequence of (int, int)
        The least and the most of each; `kept` is between them.
    """
    if step == 1 or all(count == kept for count in counts):
        return list(counts)
    lowest, highest = ([-(-(low - kept) // step) for low, _ in bounds], [(high - kept) // step for _, high in bounds])
    steps = [max((count - kept) // step, low) for count, low in zip(counts, lowest, strict=True)]
    over = [count - kept - step * own for count, own in zip(counts, steps, strict=True)]
    while (total := sum(steps)) != 0:
        able = [head for head, own in enumerate(steps) if (own < highest[head] if total < 0 else own > lowest[head])]
        head = max(able, key=over.__getitem__) if total < 0 else min(able, key=over.__getitem__)
        change = 1 if total < 0 else -1
        steps[head] += change
        over[head] -= step * change
    return [kept + step * own for own in steps]
