"""Trees of proposed tokens: which token follows which, and the path through them that a model agrees with."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

    @property
    def depths(self) -> list[int]:
        """How many tokens after the newest each node is."""
        found: list[int] = []
        for parent in self.parents:
            found.append(0 if parent < 0 else found[parent] + 1)
        return found

    @property
    def children(self) -> list[list[int]]:
        """The nodes that follow each node, in order."""
        found: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[parent].append(node)
        return found

    def within(self, depth: int) -> tuple[Tree, list[int]]:
        """The tree of the nodes that are at most `depth` tokens after the newest, and which those are."""
        kept = [node for node, far in enumerate(self.depths) if far <= depth]
        places = {-1: -1, **{node: place for place, node in enumerate(kept)}}
        return Tree(tuple(places[self.parents[node]] for node in kept)), kept

    def visible(self) -> Tensor:
        """Which nodes each node sees, itself and its ancestors: bool (nodes, nodes)."""
        found = torch.eye(len(self.parents), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[node] |= found[parent]
        return found


def expected_tokens(accuracy: Sequence[Sequence[float]], tree: Tree, guesses: Sequence[tuple[int, int]]) -> float:
    """Tokens of a step, the model's own included: one, and the chance of each node to be on the path.

    Heads are taken to be right independently of each other, as the paper does (arXiv 2401.10774, section 2.3.3).
    """
    chance = [1.0]
    for parent, (head, rank) in zip(tree.parents[1:], guesses, strict=True):
        chance.append(chance[parent] * accuracy[head][rank])
    return sum(chance)


def agreed(tree: Tree, tokens: list[int], choose: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The path that a model takes through proposals, and the tokens that it makes.

    At each node the model chooses its next token as it would without proposals; where a child proposed that token, the
    path goes on there. So the tokens are exactly those of plain decoding, drawn ones included: for proposals that are
    given, this is speculative sampling (arXiv 2211.17192) with one draw a token.

    Parameters
    ----------
    tokens : list of int
        The token of each node.
    choose : callable
        From a node to the model's choice after it.

    Returns
    -------
    (list of int, list of int)
        Nodes on the path, from node 0; and the tokens chosen, one for each of them.
    """
    children, node = tree.children, 0
    path, made = [0], [choose(0)]
    while (found := next((child for child in children[node] if tokens[child] == made[-1]), None)) is not None:
        node = found
        path.append(node)
        made.append(choose(node))
    return path, made
