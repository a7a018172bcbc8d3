"""Trees grown from chances: the guesses that are most often right, in the order in which they are worth a place."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.runtime.decoding.tree import Tree


@dataclass(frozen=True, slots=True)
class Grown:
    """A tree of guesses by heads, likeliest first: its first n guesses are the best tree of n guesses.

    Parameters
    ----------
    tree : Tree
    guesses : tuple of (int, int)
        Head and rank of each node after node 0.
    chances : tuple of float
        Of each of them, to be on the path: the product over its ancestors.
    """

    tree: Tree
    guesses: tuple[tuple[int, int], ...]
    chances: tuple[float, ...]

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens of a step, the model's own included."""
        return 1.0 + sum(self.chances)


def grown(chances: Sequence[Sequence[float]], nodes: int) -> Grown:
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
    return Grown(Tree(tuple(parents)), tuple(made[1:]), tuple(chance[1:]))
