"""What guesses tokens, and what it is told: texts that grow, proposals for them, and what became of these."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sys import maxsize
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dovetail.runtime.decoding.sampling import Chooser
from dovetail.runtime.decoding.tree import ROOT, Tree

if TYPE_CHECKING:
    from dovetail.runtime.decoding.typical import Typical


@dataclass(slots=True)
class Text:
    """One sequence while it is decoded.

    Parameters
    ----------
    index : int
        Its place among the prompts, or another number that no text beside it has.
    tokens : list of int
        Prompt and what was made of it.
    prompt : int
        Tokens of the prompt.
    hidden : Tensor (hidden,)
        The state that the newest token was chosen from.
    most : int
        Tokens to make at most.
    ends : set of int
        Tokens that end the text, and belong to it.
    ended : callable or None
        From the tokens made, whether the text is over for another reason (a stop string).
    told : callable or None
        Given the place of the text (`index`) and each token, as it comes.
    scored : callable or None
        Given the tokens of each step and the logits (tokens, vocabulary) they were chosen from.
    """

    index: int
    tokens: list[int]
    prompt: int
    choose: Chooser
    hidden: Tensor
    steps: int = 0
    done: bool = False
    most: int = maxsize
    ends: frozenset[int] = frozenset()
    ended: Callable[[list[int]], bool] | None = None
    told: Callable[[int, int], None] | None = None
    scored: Callable[[list[int], Tensor], None] | None = None

    @property
    def made(self) -> list[int]:
        return self.tokens[self.prompt :]

    @property
    def left(self) -> int:
        """Tokens still to make at most."""
        return self.most - len(self.tokens) + self.prompt

    def grow(self, tokens: Sequence[int], logits: Tensor | None = None) -> None:
        """Add tokens until the text is done; `logits` (tokens, vocabulary) are those they were chosen from."""
        begin = len(self.tokens)
        for token in tokens:
            self.tokens.append(token)
            if self.told:
                self.told(self.index, token)
            over = self.ended is not None and self.ended(self.made)
            if token in self.ends or not self.left or over:
                self.done = True
                break
        if self.scored and logits is not None:
            self.scored(self.tokens[begin:], logits[: len(self.tokens) - begin])


@dataclass(frozen=True, slots=True)
class Proposal:
    """Guesses after the newest token of one sequence.

    Parameters
    ----------
    tree : Tree
        Which guess follows which; node 0 is the newest token.
    tokens : list of int
        The token of each node after node 0.
    """

    tree: Tree = ROOT
    tokens: Sequence[int] = ()

    def within(self, depth: int) -> Proposal:
        """The guesses that are at most `depth` tokens after the newest."""
        if len(self.tree) - 1 <= depth or max(self.tree.depths) <= depth:
            return self
        tree, kept = self.tree.within(depth)
        return Proposal(tree, [self.tokens[node - 1] for node in kept[1:]])


class Proposer:
    """What guesses the tokens to come: `propose` is called before each step, the others are told of what became."""

    observes = False  # whether it wants to know hidden states
    relaxed: Typical | None = None  # keeps guesses that are likely enough; None: those that the model itself chooses

    def begin(self) -> None:
        """Called before the first token of a batch of texts."""

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """Guesses for each sequence."""
        raise NotImplementedError

    def observe(self, text: Text, states: Tensor) -> None:
        """Hidden states (n, hidden) of the next tokens of a text, as they enter the cache: prompt, then accepted.

        Called where `observes`.
        """

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        """Told after each step: how many tokens each sequence got, and how long it took, guessing included.

        Texts that are done may have got fewer than their guesses allowed.
        """

    def leave(self, texts: Sequence[Text]) -> None:
        """Texts are done, or given up: what is known of them alone is forgotten."""


def side_by_side(
    proposals: Sequence[Proposal], newest: Sequence[int], device: torch.device
) -> tuple[Tensor, list[list[int]] | None, Tensor | None]:
    """Proposals of a batch as one pass executes them; smaller trees are filled up with nodes that nothing follows.

    Returns
    -------
    ids : Tensor (B, T)
        The newest token of each sequence and its guesses.
    depths : list (B) of list (T), or None
        How far behind the newest token each node is; None without any guess.
    visible : Tensor (T, T) or (B, T, T) of bool, or None
        Which nodes each node sees.
    """
    width = max(len(one.tree) for one in proposals)
    if width == 1:
        return torch.tensor(newest, device=device).unsqueeze(1), None, None
    rows, depths = [], []
    for one, token in zip(proposals, newest, strict=True):
        filling = [0] * (width - len(one.tree))
        rows.append([token, *one.tokens, *filling])
        depths.append([*one.tree.depths, *filling])
    trees = [one.tree for one in proposals]
    alike = all(tree == trees[0] for tree in trees)
    seen = trees[0].visible() if alike else torch.stack([tree.visible(width) for tree in trees])
    return torch.tensor(rows, device=device), depths, seen.to(device)


def agreed(proposal: Proposal, choose: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The path that a model takes through proposals, and the tokens that it makes.

    At each node the model chooses its next token as it would without proposals; where a child proposed that token, the
    path goes on there. So the tokens are exactly those of plain decoding, drawn ones included: for proposals that are
    given, this is speculative sampling (arXiv 2211.17192) with one draw a token.

    Parameters
    ----------
    choose : callable
        From a node to the model's choice after it.

    Returns
    -------
    (list of int, list of int)
        Nodes on the path, from node 0; and the tokens chosen, one for each of them.
    """
    tokens, parents, node = proposal.tokens, proposal.tree.parents, 0
    path, made = [0], [choose(0)]
    for child in range(1, len(parents)):  # children come after their parents
        if parents[child] == node and tokens[child - 1] == made[-1]:
            node = child
            path.append(node)
            made.append(choose(node))
    return path, made
