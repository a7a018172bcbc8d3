"""From logits to a token: the likeliest, or one drawn with a seed."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen.

    Parameters
    ----------
    temperature : float
        0 takes the likeliest token; above, tokens are drawn from ``softmax(logits / temperature)``.
    top_k : int
        Only among so many of the likeliest; 0 for all.
    top_p : float
        Only among the fewest likeliest tokens whose chances sum to this (nucleus, arXiv 1904.09751); 1 for all.
    seed : int
        Each sequence of a batch has noise of its own, for each token: what a sequence becomes depends neither on its
        neighbours nor on how many tokens a step yields.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            hint = "0 (greedy) or above"
            raise DovetailError(f"a temperature of {self.temperature}", where="temperature", hint=hint)
        if self.top_k < 0:
            raise DovetailError(f"the likeliest {self.top_k} tokens", where="top_k", hint="0 (all) or above")
        if not 0 < self.top_p <= 1:
            raise DovetailError(f"tokens of {self.top_p} of the chances", where="top_p", hint="above 0, at most 1")
        if not -(2**63) <= self.seed < 2**63:
            raise DovetailError(f"a seed of {self.seed}", where="seed", hint="0: a whole number of 64 bits")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def chances(self, logits: Tensor) -> Tensor:
        """Probabilities (…, vocabulary) in float64 that tokens are drawn with."""
        scores = logits.double()
        scores = (scores - scores.amax(-1, keepdim=True)) / self.temperature  # no overflow at small temperatures
        if self.top_k and self.top_k < scores.shape[-1]:
            least = scores.topk(self.top_k, -1).values[..., -1:]
            scores = scores.masked_fill(scores < least, float("-inf"))
        chances = torch.softmax(scores, -1)
        if self.top_p < 1:
            ordered, places = chances.sort(-1, descending=True)
            outside = ordered.cumsum(-1) - ordered >= self.top_p  # the token that crosses the bound is inside
            chances = chances.masked_fill(torch.zeros_like(outside).scatter(-1, places, outside), 0.0)
            chances = chances / chances.sum(-1, keepdim=True)
        return chances


class Chooser:
    """Chooses the tokens of one sequence, in order.

    A token is drawn as the largest of ``log(chance) - log(e)``, e exponential noise of the vocabulary (the Gumbel
    trick): exactly with its chance, since the least of exponentials of rate p_i is the i-th with chance p_i. The noise
    of the n-th token is decided by seed, sequence and n alone. So what guesses ahead may use the noise of tokens to
    come: where its chances are near the model's, it draws the same token, and no chance is changed by that.
    """

    def __init__(self, sampling: Sampling, sequence: int) -> None:
        self.sampling = sampling
        self._source = torch.Generator().manual_seed(sampling.seed + 1_000_003 * sequence)
        self._noise: deque[Tensor] = deque()  # of the next token, the one after, …

    def __call__(self, logits: Tensor) -> int:
        """The next token, for logits (vocabulary,)."""
        if self.sampling.greedy:
            return int(logits.argmax())
        scores = self.scores(logits, 0)
        self._noise.popleft()
        return int(scores.argmax())

    def scores(self, logits: Tensor, ahead: int) -> Tensor:
        """What the token that comes `ahead` tokens after the next is the largest of: (vocabulary,).

        Logits where the likeliest is taken; chances over noise, which order as their logarithms do, where it is drawn.
        """
        if self.sampling.greedy:
            return logits
        self._fill(ahead, logits.shape[-1])
        return self.sampling.chances(logits.cpu()) / self._noise[ahead]

    def skip(self, vocabulary: int) -> None:
        """The next token is decided by others: its noise is used up."""
        self._fill(0, vocabulary)
        self._noise.popleft()

    def _fill(self, ahead: int, vocabulary: int) -> None:
        while len(self._noise) <= ahead:
            noise = torch.empty(vocabulary, dtype=torch.float64, device="cpu")
            self._noise.append(noise.exponential_(generator=self._source))
