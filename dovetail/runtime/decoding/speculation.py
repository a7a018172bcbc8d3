"""Speculation: guesses of one or several sources in one tree for each sequence, as many as pay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from torch import Tensor

from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.sizing import Sizing
from dovetail.runtime.decoding.tree import ROOT, Tree
from dovetail.runtime.decoding.typical import Typical


@dataclass(frozen=True, slots=True)
class Guess:
    """What a source holds likely after the newest token of a sequence.

    Parameters
    ----------
    tree : Tree
        Likeliest nodes first, so that the first n are a tree as well.
    tokens : sequence of int
        The token of each node after node 0.
    chances : sequence of float
        That the model takes the path to that node; falling.
    """

    tree: Tree = ROOT
    tokens: Sequence[int] = ()
    chances: Sequence[float] = ()

    def first(self, nodes: int) -> Proposal:
        """The `nodes` likeliest guesses."""
        if nodes >= len(self.tokens):
            return Proposal(self.tree, self.tokens)
        return Proposal(Tree(self.tree.parents[: nodes + 1]), self.tokens[:nodes])


class Source:
    """Where guesses come from: heads, a smaller model, the text itself."""

    observes = False  # whether it wants to know hidden states

    def begin(self) -> None:
        """Other texts come: what is known of the last ones is forgotten."""

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        """For each sequence what it holds likely."""
        raise NotImplementedError

    def observe(self, text: Text, states: Tensor) -> None:
        """As `Proposer.observe`."""

    def learn(self, texts: Sequence[Text]) -> None:
        """Told after each step for which it was asked, when the texts have grown."""

    def leave(self, texts: Sequence[Text]) -> None:
        """As `Proposer.leave`."""


@dataclass(slots=True)
class Speculation(Proposer):
    """Proposes the guesses of all `sources` that pay by `sizing`; `relaxed` where not only exact ones are kept."""

    sources: Sequence[Source]
    sizing: Sizing
    relaxed: Typical | None = None
    _asked: list[tuple[int, Guess]] = field(default_factory=list)  # for each text: its length, and the guess

    def begin(self) -> None:
        """Passed on to the sources; what is known of times and chances stays."""
        for source in self.sources:
            source.begin()

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """A tree for each text; only the newest token where guesses do not pay."""
        self._asked = []
        if self.sizing.resting(len(texts)):
            return [Proposal()] * len(texts)
        first, *rest = (source.guess(texts) for source in self.sources)
        found = [merged(row) for row in zip(first, *rest, strict=True)] if rest else first
        width = self.sizing.width(mean_chances([one.chances for one in found]), len(texts))
        self._asked = [(len(text.tokens), one) for text, one in zip(texts, found, strict=True)]
        return [one.first(width) for one in found]

    @property
    def observes(self) -> bool:  # type: ignore[override]
        """Whether a source does."""
        return any(source.observes for source in self.sources)

    def observe(self, text: Text, states: Tensor) -> None:
        """Passed on to the sources that observe."""
        for source in self.sources:
            if source.observes:
                source.observe(text, states)

    def learn(self, texts: Sequence[Text], kept: Sequence[int], seconds: float) -> None:
        """Passed on to the sources and the sizing."""
        if not self._asked:
            self.sizing.learn(len(texts), kept, seconds)
            return
        counted = [count for text, count in zip(texts, kept, strict=True) if not text.done]
        self.sizing.learn(len(texts), counted, seconds, self._first(texts), slowest(texts))
        for source in self.sources:
            source.learn(texts)

    def leave(self, texts: Sequence[Text]) -> None:
        """Passed on to the sources."""
        for source in self.sources:
            source.leave(texts)

    def _first(self, texts: Sequence[Text]) -> tuple[float, float]:
        """How many of the likeliest guesses were right, a sequence, and their chance."""
        pairs = [(text, at, one) for text, (at, one) in zip(texts, self._asked, strict=False) if one.tokens]
        right = sum(text.tokens[at] == one.tokens[0] for text, at, one in pairs)
        return right / max(1, len(pairs)), sum(one.chances[0] for _, _, one in pairs) / max(1, len(pairs))


def slowest(texts: Sequence[Text]) -> float:
    """Tokens a step of the slowest text over the mean of all that go on."""
    paces = [(len(text.tokens) - text.prompt - 1) / text.steps for text in texts if text.steps and not text.done]
    return min(paces) * len(paces) / sum(paces) if paces else 1.0


def merged(guesses: Sequence[Guess]) -> Guess:
    """One tree of several: a path that more than one holds likely has the chance of the surest."""
    chance: dict[tuple[int, ...], float] = {}
    for guess in guesses:
        paths: list[tuple[int, ...]] = [()]
        for parent, token, sure in zip(guess.tree.parents[1:], guess.tokens, guess.chances, strict=True):
            paths.append((*paths[parent], token))
            chance[paths[-1]] = max(sure, chance.get(paths[-1], 0.0))
    order = sorted(chance, key=lambda path: (-chance[path], len(path)))  # a parent is as sure as its children, or surer
    places = {(): 0, **{path: place for place, path in enumerate(order, 1)}}
    parents = (-1, *(places[path[:-1]] for path in order))
    return Guess(Tree(parents), [path[-1] for path in order], [chance[path] for path in order])


def mean_chances(rows: Sequence[Sequence[float]]) -> list[float]:
    """Mean over sequences of the chance of their first guess, their second and so on."""
    if len(rows) == 1:
        return list(rows[0])
    return [sum(column) / len(rows) for column in zip_longest(*rows, fillvalue=0.0)]
