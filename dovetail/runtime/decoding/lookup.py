"""Prompt lookup: what followed the newest tokens the last time they stood in the text (Saxena 2023; no model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.speculation import Guess, Source
from dovetail.runtime.decoding.tree import Tree

_FIRST = 0.2  # chance of a guess after one token that was seen before; each further token adds as much


@dataclass(slots=True)
class PromptLookup(Source):
    """Guesses the `length` tokens that followed the latest place of the longest known ending.

    How often such guesses are right is counted as it goes, for each length of the ending and each place after it.

    Parameters
    ----------
    length : int
        Tokens guessed at once.
    longest, shortest : int
        Tokens of the ending that is looked up: the longest first.
    """

    length: int = 8
    longest: int = 4
    shortest: int = 1
    _seen: dict[int, _Index] = field(default_factory=dict)
    _open: dict[int, tuple[int, int, list[int]]] = field(default_factory=dict)  # by text: place, size, guess
    _right: dict[tuple[int, int], list[float]] = field(default_factory=dict)  # by size and place: right, all

    def __post_init__(self) -> None:
        if self.length < 1 or not 1 <= self.shortest <= self.longest:
            what = f"{self.length} tokens after endings of {self.shortest} to {self.longest}"
            raise DovetailError(what, where="prompt lookup", hint="length=8, shortest=1, longest=4")

    def begin(self) -> None:
        """Forgets the texts; how often guesses were right is kept."""
        self._seen, self._open = {}, {}

    def guess(self, texts: Sequence[Text]) -> list[Guess]:
        """Chains; none where a text has not been here before."""
        return [self._after(text) for text in texts]

    def learn(self, texts: Sequence[Text]) -> None:
        """Counts which guesses were right."""
        for text in texts:
            begin, size, guess = self._open.pop(text.index, (0, 0, []))
            for place, (token, came) in enumerate(zip(guess, text.tokens[begin:], strict=False)):
                counts = self._counts(size, place)
                counts[0] += token == came
                counts[1] += 1
                if token != came:
                    break

    def leave(self, texts: Sequence[Text]) -> None:
        """Forgets where their tokens stood."""
        for text in texts:
            self._seen.pop(text.index, None)
            self._open.pop(text.index, None)

    def _after(self, text: Text) -> Guess:
        index = self._seen.setdefault(text.index, _Index(self.longest, self.shortest))
        place, size = index.find(text.tokens)
        if size == 0:
            return Guess()
        followed = text.tokens[place:]  # what followed then; where it reaches the end, it goes round
        guess = [followed[at % len(followed)] for at in range(self.length)]
        self._open[text.index] = len(text.tokens), size, guess
        chances, chance = [], 1.0
        for at in range(self.length):
            right, every = self._counts(size, at)
            chance *= right / every
            chances.append(chance)
        return Guess(Tree.chain(self.length), guess, chances)

    def _counts(self, size: int, place: int) -> list[float]:
        """How many guesses were right, and all: those at `place` whose forerunners were right."""
        return self._right.setdefault((size, place), [2.0 * min(0.9, _FIRST * size + 0.1 * place), 2.0])


@dataclass(slots=True)
class _Index:
    """Where each run of tokens of a growing text was last followed by something."""

    longest: int
    shortest: int
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    done: int = 0

    def find(self, tokens: list[int]) -> tuple[int, int]:
        """Where the text went on after its own ending the last time, and how long that ending is: 0 the first time."""
        for end in range(max(self.done, self.shortest), len(tokens)):
            for size in range(self.shortest, min(self.longest, end) + 1):
                self.places[tuple(tokens[end - size : end])] = end
        self.done = len(tokens)
        sizes = range(min(self.longest, len(tokens)), self.shortest - 1, -1)
        found = ((self.places.get(tuple(tokens[-size:])), size) for size in sizes)
        return next(((place, size) for place, size in found if place is not None), (0, 0))
