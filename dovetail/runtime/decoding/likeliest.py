"""Which guesses of several heads are most often right: arithmetic that predictions share with the decoder, no torch."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Likeliest:
    """Guesses in the order in which they are worth a place: the first n are the best n.

    Parameters
    ----------
    parents : tuple of int
        Number of the guess that each one follows, counted from 1; 0 is the newest token.
    guesses : tuple of (int, int)
        Head and rank of each.
    chances : tuple of float
        Of each, to be on the path of what is right: the product over its ancestors.
    """

    parents: tuple[int, ...]
    guesses: tuple[tuple[int, int], ...]
    chances: tuple[float, ...]


def likeliest(chances: Sequence[Sequence[float]], nodes: int) -> Likeliest:
    """The tree of `nodes` guesses that is most often right, for heads that guess each place on its own.

    A node is right with the product of the chances on its path (heads are taken to be right independently, as the
    Medusa paper does, arXiv 2401.10774, section 2.3.3). Taking the likeliest node next is optimal: it is always a child
    or the next sibling of one that was taken before.

    Parameters
    ----------
    chances : sequence (heads, ranks)
        Chance that the guess of a rank is right, for each head: head 0 guesses the first token after the newest.
        Falling along the ranks.
    """
    parents, made, chance = [-1], [(-1, 0)], [1.0]
    waiting = [(-chances[0][0], 0, 0, 0)]  # chance, parent, head, rank
    while waiting and len(made) <= nodes:
        negative, parent, head, rank = heapq.heappop(waiting)
        parents.append(parent)
        made.append((head, rank))
        chance.append(-negative)
        if rank + 1 < len(chances[head]):
            heapq.heappush(waiting, (-chance[parent] * chances[head][rank + 1], parent, head, rank + 1))
        if head + 1 < len(chances):
            heapq.heappush(waiting, (negative * chances[head + 1][0], len(made) - 1, head + 1, 0))
    return Likeliest(tuple(parents[1:]), tuple(made[1:]), tuple(chance[1:]))
