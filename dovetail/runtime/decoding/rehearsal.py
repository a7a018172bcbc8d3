"""Times of whole steps of the decode loop, at the batches and numbers of guesses that are asked for.

A pass alone (`passes.TimedPass`) is not a step: sequences that got different numbers of tokens have caches of different
lengths and trees of their own, paths are kept, texts are told. Here the loop decodes texts that are known, with guesses
of which as many are right as is wanted; so a step takes what it takes, and what guesses is timed apart from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from torch import Tensor

from dovetail.runtime.decoding.loop import Loop
from dovetail.runtime.decoding.passes import clock_of
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.runner import Runner
from dovetail.runtime.decoding.sampling import Sampling
from dovetail.runtime.decoding.tree import Tree

_NONE: frozenset[int] = frozenset()  # texts go on to their length


@dataclass(slots=True)
class Scripted(Proposer):
    """Guesses of known texts, right as often as wanted, in place of those of another proposer, who is asked as well.

    Parameters
    ----------
    made : sequence of sequence of int
        What the model makes of each prompt.
    guesses : int
        In each tree: a chain with some leaves beside it.
    right : float
        Chance of each guess of the chain, if those before it are right.
    inner : Proposer or None
        Asked and told as if its guesses were taken; its time is counted by itself.
    """

    made: Sequence[Sequence[int]]
    guesses: int
    right: float
    clock: Callable[[], float]
    inner: Proposer | None = None
    steps_s: list[float] = field(default_factory=list)  # of each step without what is done here
    asking_s: list[float] = field(default_factory=list)  # of the inner proposer, in the same steps
    _source: random.Random = field(default_factory=lambda: random.Random(0))
    _batch: int = 0
    _began: float = 0.0
    _here: float = 0.0
    _asking: float = 0.0

    @property
    def observes(self) -> bool:  # type: ignore[override]
        """Whether the inner one does."""
        return self.inner is not None and self.inner.observes

    def begin(self) -> None:
        """A new batch."""
        self._batch = 0
        if self.inner:
            self.inner.begin()

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """Of each text what is to come, with mistakes."""
        now = self.clock()
        if len(texts) == self._batch:
            self.steps_s.append(now - self._began - self._here)
            self.asking_s.append(self._asking)
        self._batch, self._began, self._here, self._asking = len(texts), now, 0.0, 0.0
        if self.inner:
            self._inner(lambda: self.inner.propose(texts))  # type: ignore[union-attr]
        found = [self._guessed(text) for text in texts]
        self._here += self.clock() - now - self._asking
        return found

    def observe(self, text: Text, states: Tensor) -> None:
        """Passed on."""
        self._inner(lambda: self.inner.observe(text, states))  # type: ignore[union-attr]

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        """Passed on."""
        if self.inner:
            self._inner(lambda: self.inner.learn(texts, kept, seconds))  # type: ignore[union-attr]

    def _inner(self, call: Callable[[], object]) -> None:
        began = self.clock()
        call()
        took = self.clock() - began
        self._asking += took
        self._here += took

    def _guessed(self, text: Text) -> Proposal:
        coming = self.made[text.index][len(text.made) :]
        straight = self._source.randint((self.guesses + 1) // 2, self.guesses) if self.guesses else 0
        wrong, tokens = False, []
        for place in range(straight):
            wrong = wrong or place >= len(coming) or self._source.random() >= self.right
            tokens.append(self._other(coming, place) if wrong else coming[place])
        leaves = [self._source.randrange(straight) for _ in range(self.guesses - straight)]
        tree = Tree((*range(-1, straight), *leaves))
        return Proposal(tree, [*tokens, *(self._other(coming, leaf) for leaf in leaves)])

    @staticmethod
    def _other(coming: Sequence[int], place: int) -> int:
        return int(place >= len(coming) or coming[place] == 0)


@dataclass(frozen=True, slots=True)
class TimedStep:
    """Seconds of a step of the loop with guesses, by whatever they were made; measured once for each shape.

    Batches between powers of two are taken to lie on lines between these.

    Parameters
    ----------
    prompts : sequence of sequence of int
        Texts to begin with, taken again where a batch is larger.
    new : int
        Tokens of each.
    right : float
        As of `Scripted`: how ragged caches become depends on it.
    """

    runner: Runner
    prompts: Sequence[Sequence[int]]
    new: int = 64
    right: float = 0.5
    repeats: int = 2
    _known: dict[tuple[int, int], float] = field(default_factory=dict)
    _made: dict[int, tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def seconds(self, batch: int, guesses: int) -> float:
        """Of a step of `batch` sequences with as many guesses each, without what it takes to guess."""
        low = 1 << (batch.bit_length() - 1)
        share = batch / low - 1
        here = self._at(low, guesses)
        return here if not share else here + share * (self._at(2 * low, guesses) - here)

    def asking(self, batch: int, guesses: int, inner: Proposer | None) -> float:
        """Seconds that a proposer takes in a step, told of all that becomes of the texts."""
        return median(self._rehearsed(batch, guesses, inner).asking_s)

    def _at(self, batch: int, guesses: int) -> float:
        if (batch, guesses) not in self._known:
            self._known[batch, guesses] = median(self._rehearsed(batch, guesses, None).steps_s)
        return self._known[batch, guesses]

    def _rehearsed(self, batch: int, guesses: int, inner: Proposer | None) -> Scripted:
        rows = [list(self.prompts[at % len(self.prompts)]) for at in range(batch)]
        if batch not in self._made:
            self._made[batch] = Loop(self.runner, self.new, Sampling(), _NONE).run(rows).tokens
        script = Scripted(self._made[batch], guesses, self.right, clock_of(self.runner.device), inner)
        for _ in range(self.repeats):
            Loop(self.runner, self.new, Sampling(), _NONE, proposer=script).run(rows)
        return script
