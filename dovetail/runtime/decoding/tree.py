"""Trees of proposed tokens: which token follows which, and the path through them that a model agrees with."""

from __future__ import annotations

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


ROOT = Tree()  # only the newest token: no guess


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
