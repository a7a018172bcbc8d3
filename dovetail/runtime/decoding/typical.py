"""Typical acceptance (Medusa, arXiv 2401.10774, section 2.3.1): guesses that are likely enough are kept. Relaxed.

The text is not the one without guesses, nor drawn from the model's distribution: what is guessed decides which of the
tokens that the model holds plausible is taken. Nothing takes it by default.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.proposal import Proposal
from dovetail.runtime.decoding.sampling import Chooser, Sampling


@dataclass(frozen=True, slots=True)
class Typical:
    """Keeps a guess of chance ``p > min(epsilon, delta * exp(-H))``, H the entropy (nats) of what may stand there.

    Chances are those that tokens are drawn with: temperature, top-k and top-p included.

    Parameters
    ----------
    epsilon : float
        Above this chance a guess is kept wherever it stands.
    delta : float
        Below it, where the model is less sure than that. By default those of the paper's code: 0.09 and its root, 0.3.
    """

    epsilon: float = 0.09
    delta: float = 0.3

    def __post_init__(self) -> None:
        for name, value in (("epsilon", self.epsilon), ("delta", self.delta)):
            if not 0 < value <= 1:
                hint = "0.09 and 0.3: above 0, at most 1"
                raise DovetailError(f"a threshold of {value}", where=f"relaxed acceptance: {name}", hint=hint)

    @staticmethod
    def check(sampling: Sampling) -> None:
        """Raise `DovetailError` where the likeliest token is taken: nothing else is typical then."""
        if sampling.greedy:
            why = "temperature 0 takes the likeliest token, and no other is typical: it would be the lossless mode"
            hint = "--temperature 0.8, or --speculate medusa"
            raise DovetailError("relaxed acceptance without drawing", where="speculation", why=why, hint=hint)

    def accepted(self, proposal: Proposal, logits: Tensor, choose: Chooser) -> tuple[list[int], list[int]]:
        """The longest path of kept guesses, the likeliest of several, and one more token that the model draws itself.

        Parameters
        ----------
        logits : Tensor (nodes or more, vocabulary)
            After each node of the tree.

        Returns
        -------
        (list of int, list of int)
            As `agreed`: nodes from node 0, and a token for each: the guess that follows it, the last one drawn.
        """
        path = self._longest(proposal, choose.sampling.chances(logits[: len(proposal.tree)].cpu()))
        made = [proposal.tokens[node - 1] for node in path[1:]]
        for _ in made:
            choose.skip(logits.shape[-1])
        return path, [*made, choose(logits[path[-1]])]

    def _longest(self, proposal: Proposal, chances: Tensor) -> list[int]:
        parents, best = proposal.tree.parents, 0
        far, sure = {0: 0}, {0: 0.0}  # of nodes that are kept: how deep they are, and log of the chance of their path
        for node, log_chance in self._kept(proposal, chances):
            if (parent := parents[node]) in far:
                far[node], sure[node] = far[parent] + 1, sure[parent] + log_chance
                best = max(best, node, key=lambda one: (far[one], sure[one]))
        path = [best]
        while path[-1]:
            path.append(parents[path[-1]])
        return path[::-1]

    def _kept(self, proposal: Proposal, chances: Tensor) -> Iterator[tuple[int, float]]:
        """Nodes whose guess is typical after their parent, with the logarithm of its chance there."""
        if not proposal.tokens:
            return
        bounds = (self.delta * torch.exp(torch.xlogy(chances, chances).sum(-1))).clamp_max(self.epsilon)
        before = torch.tensor(proposal.tree.parents[1:])
        found = chances[before, torch.tensor(proposal.tokens)]
        kept, logs = (found > bounds[before]).tolist(), found.log().tolist()
        yield from ((node, logs[node - 1]) for node in range(1, len(proposal.tree)) if kept[node - 1])
