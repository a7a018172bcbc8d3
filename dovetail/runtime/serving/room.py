"""Which texts the memory for keys and values holds together, and which one has to wait when they grow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dovetail.runtime.cache.forecast import longest, texts_bytes
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.proposal import Text
from dovetail.runtime.decoding.runner import Runner

EXPECTED = 256  # tokens that a text is expected to grow by: most end long before they are as long as they may be
SPARE = 2  # times a text's tokens that there is memory for: it is read in a cache of its own, beside that of others


@dataclass(frozen=True, slots=True)
class Room:
    """Memory of an engine.

    Without a plan, all texts are rows of one rectangle as long as the longest; a text that joins has `EXPECTED` tokens
    to grow by. Should texts need more later, the youngest waits and is read again. With a plan a text cannot be read
    again to the same end, since what is kept depends on when it was chosen: what it may come to is there from its
    beginning, which is little where a policy bounds it.

    Parameters
    ----------
    token_bytes : int
        Keys and values of one token in all layers, without a plan.
    cache_bytes : int
        For keys and values of all texts.
    places : int
        Texts that are decoded together at most.
    step : int
        Tokens that a step may write for each text.
    kept : callable
        Tokens that are held beside the texts: less than half of all, so that the longest text always fits.
    """

    runner: Runner
    plan: CachePlan | None
    token_bytes: int
    cache_bytes: int
    places: int
    step: int = 1
    kept: Callable[[], int] = lambda: 0

    @property
    def cells(self) -> int:
        """Tokens of texts, without a plan."""
        return self.whole - self.kept()

    @property
    def whole(self) -> int:
        """Tokens of texts and of kept beginnings."""
        return self.cache_bytes // self.token_bytes

    def longest(self, context: int) -> int:
        """Tokens of the longest text that there is memory for, within the context."""
        if self.plan is None:
            return min(context, self.whole // SPARE)
        return longest(lambda length: texts_bytes(self.runner, self.plan, [length]) <= self.cache_bytes, context)

    def holds(self, running: Sequence[Text], text: Text) -> bool:
        """Whether a text may be read and then join those that run. Alone it may: longer ones are refused."""
        if not running or len(running) >= self.places:
            return not running
        texts = [*running, text]
        if self.plan is not None:
            return texts_bytes(self.runner, self.plan, [one.prompt + one.most for one in texts]) <= self.cache_bytes
        expected = max(min(one.prompt + one.most, len(one.tokens) + EXPECTED) for one in texts)
        return len(texts) * expected + text.prompt + 1 <= self.cells

    def overfull(self, running: Sequence[Text], reading: Text | None) -> bool:
        """Whether the next step would need more than there is, so that a text has to wait; never for one alone."""
        if self.plan is not None or len(running) + (reading is not None) < 2:
            return False
        needed = len(running) * (max((len(one.tokens) for one in running), default=0) + self.step)
        return needed + self._reading(reading) > self.cells

    def most(self, reading: Text | None) -> int:
        """Positions that the running texts may have memory for."""
        return self.cells - self._reading(reading)

    @staticmethod
    def _reading(text: Text | None) -> int:
        return 0 if text is None else text.prompt + 1
