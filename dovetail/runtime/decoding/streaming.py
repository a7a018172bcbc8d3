"""Text while it is made: whole characters only, and nothing that may be the beginning of a stop string."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dovetail.core.errors import DovetailError

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"  # what a tokenizer makes of bytes that are not a character yet


@dataclass(slots=True)
class TextStream:
    """Turns tokens into text as they come.

    Parameters
    ----------
    tokenizer : object
        With ``decode``.
    stops : sequence of str
        Strings that end the text; neither they nor what follows them is part of it.
    sink : callable or None
        Given each piece of text that is certain.
    """

    tokenizer: Any
    stops: Sequence[str] = ()
    sink: Callable[[str], None] | None = None
    text: str = ""
    stopped: bool = False
    _tokens: list[int] = field(default_factory=list)
    _begin: int = 0  # of the tokens that the next ones are decoded with: some tokenizers look back
    _read: int = 0  # tokens whose text is known
    _given: int = 0  # characters that the sink has

    def __post_init__(self) -> None:
        if any(not stop for stop in self.stops):
            raise DovetailError("a stop string is empty", where="stop", hint="some characters")

    def add(self, token: int) -> None:
        """One more token. What comes after a stop string is not heeded."""
        if self.stopped:
            return
        self._tokens.append(token)
        before = self._decoded(self._tokens[self._begin : self._read])
        now = self._decoded(self._tokens[self._begin :])
        if now.endswith(_UNFINISHED) or len(now) <= len(before):
            return
        self._extend(now[len(before) :])
        self._begin, self._read = self._read, len(self._tokens)

    def close(self) -> str:
        """The whole text; what was held back is given, unfinished characters included."""
        if not self.stopped:
            before = self._decoded(self._tokens[self._begin : self._read])
            self._extend(self._decoded(self._tokens[self._begin :])[len(before) :])
            self._read = len(self._tokens)
            self._give(len(self.text))
        return self.text

    def _extend(self, more: str) -> None:
        self.text += more
        ends = [at for stop in self.stops if (at := self.text.find(stop)) >= 0]
        if ends:
            self.text, self.stopped = self.text[: min(ends)], True
        self._give(len(self.text) - (0 if self.stopped else self._held()))

    def _held(self) -> int:
        """Characters at the end that may begin a stop string."""
        longest = max(map(len, self.stops), default=1) - 1
        sizes = range(min(longest, len(self.text)), 0, -1)
        return next((n for n in sizes if any(stop.startswith(self.text[-n:]) for stop in self.stops)), 0)

    def _give(self, until: int) -> None:
        if self.sink and until > self._given:
            self.sink(self.text[self._given : until])
        self._given = max(self._given, until)

    def _decoded(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))
