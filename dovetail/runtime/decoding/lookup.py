"""Prompt lookup: what followed the newest tokens the last time they stood in the text (Saxena 2023; no model)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from dovetail.core.errors import DovetailError
from dovetail.runtime.decoding.proposal import Proposal, Proposer, Text
from dovetail.runtime.decoding.tree import Tree


@dataclass(slots=True)
class PromptLookup(Proposer):
    """Proposes the `length` tokens that followed the latest place of the longest known ending.

    Parameters
    ----------
    length : int
        Tokens proposed at once.
    longest, shortest : int
        Tokens of the ending that is looked up: the longest first.
    """

    length: int = 4
    longest: int = 4
    shortest: int = 2
    _seen: dict[int, _Index] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.length < 1 or not 1 <= self.shortest <= self.longest:
            what = f"{self.length} tokens after endings of {self.shortest} to {self.longest}"
            raise DovetailError(what, where="prompt lookup", hint="length=4, shortest=2, longest=4")

    def propose(self, texts: Sequence[Text]) -> list[Proposal]:
        """Chains; only the newest token where a text has not been here before."""
        found = (self._after(text) for text in texts)
        return [Proposal(Tree.chain(len(guess)), guess) for guess in found]

    def _after(self, text: Text) -> list[int]:
        index = self._seen.setdefault(text.index, _Index(self.longest, self.shortest))
        place = index.find(text.tokens)
        if place is None:
            return []
        found = text.tokens[place:]  # what followed then; where it reaches the end, it goes round
        return [found[at % len(found)] for at in range(self.length)]


@dataclass(slots=True)
class _Index:
    """Where each run of tokens of a growing text was last followed by something."""

    longest: int
    shortest: int
    places: dict[tuple[int, ...], int] = field(default_factory=dict)
    done: int = 0

    def find(self, tokens: list[int]) -> int | None:
        """Where the text went on after its own ending the last time; None the first time."""
        for end in range(max(self.done, self.shortest), len(tokens)):
            for size in range(self.shortest, min(self.longest, end) + 1):
                self.places[tuple(tokens[end - size : end])] = end
        self.done = len(tokens)
        sizes = range(min(self.longest, len(tokens)), self.shortest - 1, -1)
        return next((p for size in sizes if (p := self.places.get(tuple(tokens[-size:]))) is not None), None)
