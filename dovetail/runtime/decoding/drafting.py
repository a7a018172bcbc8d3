"""Guessing with a model of its own, one token after the other: how far, and which other tokens beside the likeliest.

A draft pass yields the likeliest tokens after a chain. The likeliest goes on as the chain; the next likely ones cost no
pass of the draft, and stand beside it as leaves. How often each place was right, given that the chain before it was, is
counted while texts are decoded; from that and from measured times `Sizing` says how many guesses pay. (How likely a
draft holds a token is no measure of it: where the likeliest is taken, guesses are right more often than they are sure.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import mul

import torch
from torch import Tensor

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.sizing import PassTime, Sizing
from dovetail.runtime.decoding.speculation import Guess, Source, Speculation
from dovetail.runtime.decoding.tree import Tree

_RECENT = 0.03  # weight of the newest guess in running means
_UNKNOWN = (0.7, 0.1, 0.05, 0.03)  # how often guesses of a place are right, before any was counted
_UNLIMITED = 1 << 30


@dataclass(frozen=True, slots=True)
class DraftedPass(PassTime):
    """Seconds of a forward pass over guesses, and of the draft's passes that made them.

    Parameters
    ----------
    draft : PassTime
        Of one pass of the draft.
    deepest : int
        Passes of the draft at most: more guesses than that stand beside others.
    """

    draft: PassTime
    deepest: int

    def seconds(self, batch: int, guesses: int) -> float:
        """Of guessing and of the pass, for `batch` sequences together."""
        return PassTime.seconds(self, batch, guesses) + min(guesses, self.deepest) * self.draft.seconds(batch, 0)

    @classmethod
    def by(cls, model: PassTime, draft: PassTime, deepest: int) -> DraftedPass:
        """Of a model and a draft whose passes were timed."""
        return cls(model.fixed_s, model.token_s, draft, deepest)


def unknown(depth: int, ranks: int) -> list[list[float]]:
    """Chances (depth, ranks) to begin with. Raises `DovetailError` for none, or more ranks than are worth a place."""
    if depth < 1 or not 1 <= ranks <= len(_UNKNOWN):
        hint = f"1 guess after another or more, 1 to {len(_UNKNOWN)} of each place"
        raise DovetailError(f"a draft of {depth} guesses, {ranks} of each place", where="draft", hint=hint)
    return [list(_UNKNOWN[:ranks]) for _ in range(depth)]


@dataclass(slots=True)
class Rows:
    """A draft's own cache, with a row for each text that is decoded.

    Parameters
    ----------
    layers : int
        Of the draft.
    """

    layers: int
    device: torch.device
    cache: KVCache = field(init=False)
    texts: list[Text] = field(default_factory=list)

    def follow(self, texts: Sequence[Text]) -> KVCache:
        """The cache with rows for these texts: others are dropped, those not seen before get empty ones."""
        places = {id(text): row for row, text in enumerate(self.texts)}
        fresh = [text for text in texts if id(text) not in places]
        if len(fresh) == len(texts):
            self.cache, self.texts = KVCache(self.layers, len(texts), device=self.device), list(texts)
            return self.cache
        if fresh:
            self.cache.join(KVCache(self.layers, len(fresh), device=self.device))
            places |= {id(text): row for row, text in enumerate(fresh, len(self.texts))}
        if (rows := [places[id(text)] for text in texts]) != list(range(len(places))):
            self.cache.drop(rows)
        self.texts = list(texts)
        return self.cache


@dataclass(slots=True)
class DraftSizing(Sizing):
    """How many guesses pay where making them takes passes as well; its time is best a `DraftedPass`.

    Parameters
    ----------
    aside_s : float
        Seconds of the coming step that no usual step takes: reading a prompt.
    """

    aside_s: float = 0.0

    def learn(
        self, batch: int, kept: Sequence[int], seconds: float, first: tuple[float, float] = (0.0, 0.0),
        slowest: float = 1.0,
    ) -> None:  # fmt: skip
        """As `Sizing.learn`, of what a usual step takes."""
        aside, self.aside_s = self.aside_s, 0.0
        if aside < seconds:
            Sizing.learn(self, batch, kept, seconds - aside, first, slowest)


@dataclass(slots=True, kw_only=True)
class Drafter(Source):
    """Guesses chains with leaves beside them; a subclass says what comes after a text, and after a guess.

    Parameters
    ----------
    sizing : DraftSizing
        That of the `Speculation` too: it says how many guesses pay, hence how far the draft goes.
    rates : list (depth) of list (ranks) of float
        Chance of each guess of a place, given that the likeliest ones before it were right. Learned further here.
    """

    sizing: DraftSizing
    rates: list[list[float]]
    _open: dict[int, tuple[int, list[list[int]]]] = field(default_factory=dict)  # by text: its length, and what came

    def alone(self) -> Speculation:
        """Speculation with nothing but this draft."""
        return Speculation([self], self.sizing)

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        """A chain with leaves for each text, with chances that were counted; nothing where guesses do not pay."""
        places = worth(self.rates)
        width = self.sizing.best([chance for chance, _, _ in places], len(texts))
        able = [text for text in texts if self.able(text) > 0]
        if not width or not able:
            return [Guess()] * len(texts)
        depth = min(1 + max(depth for _, depth, _ in places[:width]), *map(self.able, able))
        places = [place for place in places if place[1] < depth]
        tree, chances, made = caterpillar(places), [chance for chance, _, _ in places], {}
        for text, tokens in zip(able, self._drafted(able, depth), strict=True):
            made[id(text)] = Guess(tree, [tokens[at][rank] for _, at, rank in places], chances)
            self._open[id(text)] = len(text.tokens), tokens
        return [made.get(id(text), Guess()) for text in texts]

    def _drafted(self, texts: Sequence[Text], depth: int) -> list[list[list[int]]]:
        """The likeliest tokens of each place: (B, depth, ranks)."""
        tokens, logits = [], self.start(texts)
        for place in range(depth):
            scores = scored(logits, texts, place)
            tokens.append(scores.topk(len(self.rates[0]), -1).indices.to(logits.device))
            if place + 1 < depth:
                logits = self.go_on(tokens[-1][:, 0])
        return torch.stack(tokens, 1).tolist()

    def able(self, text: Text) -> int:
        """Tokens that can be guessed after a text."""
        return _UNLIMITED

    def start(self, texts: Sequence[Text]) -> Tensor:
        """Scores (B, vocabulary) of what comes after each text."""
        raise NotImplementedError

    def go_on(self, tokens: Tensor) -> Tensor:
        """Scores (B, vocabulary) of what comes after one more guess (B,) of each text."""
        raise NotImplementedError

    def learn(self, texts: Sequence[Text]) -> None:
        """Counts which guesses were right."""
        for text in texts:
            length, guessed = self._open.pop(id(text), (0, []))
            self._count(guessed, text.tokens[length:])
        self._open.clear()

    def _count(self, guessed: list[list[int]], came: list[int]) -> None:
        """Places count as long as the chain before them was right; the model's own token says which guess was."""
        for rates, guesses, token in zip(self.rates, guessed, came, strict=False):
            for rank, guess in enumerate(guesses):
                rates[rank] += _RECENT * ((guess == token) - rates[rank])
            if guesses[0] != token:
                return


def scored(logits: Tensor, texts: Sequence[Text], ahead: int) -> Tensor:
    """What texts' choices `ahead` tokens after the next are the largest of, if a draft's logits (B, vocabulary) hold.

    Where tokens are drawn that is with the noise that the model's own choice will have.
    """
    if all(text.choose.sampling.greedy for text in texts):
        return logits
    rows = (text.choose.scores(row, ahead) for text, row in zip(texts, logits, strict=True))
    return torch.stack([row.double().cpu() for row in rows])  # of the likeliest taken too, beside those that are drawn


def worth(rates: Sequence[Sequence[float]]) -> list[tuple[float, int, int]]:
    """Chance, depth and rank of all places of a chain and its leaves, the likeliest first, none before its parent."""
    before = [1.0, *accumulate((row[0] for row in rates), mul)]
    places = [(before[depth] * rate, depth, rank) for depth, row in enumerate(rates) for rank, rate in enumerate(row)]
    return sorted(places, key=lambda place: (-place[0], place[1], place[2]))


def caterpillar(places: Sequence[tuple[float, int, int]]) -> Tree:
    """A chain and its leaves as a tree, from chance, depth and rank of its nodes."""
    parents, chain = [-1], {-1: 0}
    for node, (_, depth, rank) in enumerate(places, 1):
        parents.append(chain[depth - 1])
        if rank == 0:
            chain[depth] = node
    return Tree(tuple(parents))
