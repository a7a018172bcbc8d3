"""Tokens as they come, made into text, chances and reasons: what is the same in all forms of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.app.serving.problem import ApiError
from dovetail.runtime.decoding.streaming import TextStream
from dovetail.runtime.serving.request import FAILED, STOP, Made, Scored


@dataclass(frozen=True, slots=True)
class Chance:
    """A token as clients see it.

    Parameters
    ----------
    offset : int
        Characters of the text before it.
    top : sequence of (str, float)
        The likeliest tokens at its place.
    """

    token: str
    logprob: float
    offset: int
    top: Sequence[tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of one choice: text that is certain, chances of tokens, why it ended if it did."""

    index: int
    text: str
    chances: Sequence[Chance]
    reason: str | None


@dataclass(slots=True)
class Choice:
    """One text of an answer while it grows."""

    index: int
    request: int
    tokenizer: Any
    stops: Sequence[str]
    tokens: int = 0
    reason: str | None = None
    _stream: TextStream = field(init=False)
    _new: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stream = TextStream(self.tokenizer, self.stops, self._new.append)

    def add(self, made: Made) -> Piece:
        """Text of the tokens of a step; nothing after a stop string. Raises `ApiError` for a request that failed."""
        if made.reason == FAILED:
            raise ApiError(500, f"The request could not be finished: {made.why}", code="engine_failed")
        chances: list[Chance] = []
        for place, token in enumerate(made.tokens):
            offset = len(self._stream.text)
            self._stream.add(token)
            self.tokens += 1
            if made.scored:
                chances.append(self._chance(token, offset, made.scored[place]))
            if self._stream.stopped:
                self.reason = STOP
                break
        if self.reason is None and made.reason is not None:
            self._stream.close()
            self.reason = made.reason
        text = "".join(self._new)
        self._new.clear()
        return Piece(self.index, text, chances, self.reason)

    def _chance(self, token: int, offset: int, scored: Scored) -> Chance:
        top = [(self._word(one), value) for one, value in scored.top]
        return Chance(self._word(token), scored.logprob, offset, top)

    def _word(self, token: int) -> str:
        return str(self.tokenizer.decode([token]))
