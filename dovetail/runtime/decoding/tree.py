"""Trees of proposed tokens: which token follows which, and the path through them that a model agrees with."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tree:
    """The shape of proposals: node 0 is the newest token of the sequence, every other node follows its parent.

    Parameters
    ----------
    parents : tuple of int
        The parent of each node, which comes before it; -1 for node 0.
    """

    parents: tuple[int, ...] = (-1,)

    @classmethod
    def chain(cls, length: int) -> Tree:
        """`length` proposed tokens, one after the other."""
        return cls(tuple(range(-1, length)))

    @classmethod
    def grown(cls, accuracy: Sequence[Sequence[float]], nodes: int) -> tuple[Tree, list[tuple[int, int]]]:
        """The tree of `nodes` proposals that is most often right, for heads that guess each place on its own.

        Greedy, which is optimal: a node is right with the product of the chances on its path, so the likeliest next
        node is always a child or a sibling of one taken before.

        Parameters
        ----------
        accuracy : sequence (heads, ranks)
            Chance that the guess of a rank is right, for each head: head 0 guesses the first token after the newest.

        Returns
        -------
        (Tree, list of (int, int))
            The tree, and head and rank of each node after node 0.
        """
        parents, made, chance = [-1], [(-1, 0)], [1.0]
        waiting = [(-accuracy[0][0], 0, 0, 0)]  # chance, parent, head, rank
        while waiting and len(made) <= nodes:
            negative, parent, head, rank = heapq.heappop(waiting)
            parents.append(parent)
            made.append((head, rank))
            chance.append(-negative)
            if rank + 1 < len(accuracy[head]):
                heapq.heappush(waiting, (-chance[parent] * accuracy[head][rank + 1], parent, head, rank + 1))
            if head + 1 < len(accuracy):
                heapq.heappush(waiting, (negative * accuracy[head + 1][0], len(made) - 1, head + 1, 0))
        return cls(tuple(parents)), made[1:]

    def __len__(self) -> int:
        return len(self.parents)

    @property
    def depths(self) -> list[int]:
        """How many tokens after the newest each node is."""
        found: list[int] = []
        for parent in self.parents:
            found.append(0 if parent < 0 else found[parent] + 1)
        return found

    def within(self, depth: int) -> tuple[Tree, list[int]]:
        """The tree of the nodes that are at most `depth` tokens after the newest, and which those are."""
        kept = [node for node, far in enumerate(self.depths) if far <= depth]
        places = {-1: -1, **{node: place for place, node in enumerate(kept)}}
        return Tree(tuple(places[self.parents[node]] for node in kept)), kept

    def visible(self, width: int = 0) -> Tensor:
        """Which nodes each node sees, itself and its ancestors: bool (nodes, nodes), or (width, width) with more nodes
        that stand alone.
        """
        return _visible(self.parents, width)


@lru_cache(maxsize=512)
def _visible(parents: tuple[int, ...], width: int) -> Tensor:
    found: list[list[bool]] = []
    width = max(width, len(parents))
    for node in range(width):
        parent = parents[node] if node < len(parents) else -1
        row = [False] * width if parent < 0 else found[parent].copy()
        row[node] = True
        found.append(row)
    return torch.tensor(found, device="cpu")


def expected_tokens(accuracy: Sequence[Sequence[float]], tree: Tree, guesses: Sequence[tuple[int, int]]) -> float:
    """Tokens of a step, the model's own included: one, and the chance of each node to be on the path.

    Heads are taken to be right independently of each other, as the paper does (arXiv 2401.10774, section 2.3.3).
    """
    chance = [1.0]
    for parent, (head, rank) in zip(tree.parents[1:], guesses, strict=True):
        chance.append(chance[parent] * accuracy[head][rank])
    return sum(chance)
