"""Trees grown from chances: the guesses that are most often right, in the order in which they are worth a place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dovetail.runtime.decoding.likeliest import likeliest
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
    """The tree of `nodes` guesses that is most often right (`likeliest`)."""
    found = likeliest(chances, nodes)
    return Grown(Tree((-1, *found.parents)), found.guesses, found.chances)
