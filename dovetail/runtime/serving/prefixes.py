"""Beginnings that prompts share (a system prompt, a template), whose keys and values are kept: they are read once.

The first prompt of a kind is only remembered; what the second has in common with it is kept when that is read, and
later ones begin behind it. So nothing is kept of prompts that are like no other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dovetail.runtime.decoding.batch import Batch
from dovetail.runtime.decoding.cache import KVCache

_LEAST = 32  # tokens in common that are worth a copy
_REMEMBERED = 64  # prompts, by their tokens alone

Ids = NDArray[np.int64]


@dataclass(slots=True)
class Prefixes:
    """Kept beginnings, those used last at the end.

    Parameters
    ----------
    most : int
        Tokens that all of them may hold; 0: none are kept.

    Attributes
    ----------
    reused : int
        Tokens of prompts that were not read again.
    """

    most: int
    reused: int = 0
    _kept: list[tuple[Ids, KVCache]] = field(default_factory=list)
    _seen: deque[Ids] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def tokens(self) -> int:
        """Held by all of them."""
        return sum(len(ids) for ids, _ in self._kept)

    def begin(self, batch: Batch) -> None:
        """Put what is known of the prompt of a batch's only text in its cache; one token at least is left to read."""
        ids = np.asarray(batch.texts[0].tokens)
        lengths = [common(ids[:-1], kept) for kept, _ in self._kept]
        if not lengths or (length := max(lengths)) < _LEAST:
            return
        self._kept.append(found := self._kept.pop(lengths.index(length)))
        batch.begin(found[1].first(length))
        self.reused += length

    def learn(self, batch: Batch, free: int) -> None:
        """Keep what a prompt that is read has in common with one before it, should that be more than is kept.

        Parameters
        ----------
        free : int
            Tokens that there is memory for beside what is kept and all else: with fewer, nothing is learned.
        """
        ids = np.asarray(batch.texts[0].tokens[: batch.texts[0].prompt])
        length = max((common(ids, one) for one in self._seen), default=0)
        self._seen.append(ids)
        known = max((common(ids, kept) for kept, _ in self._kept), default=0)
        if not _LEAST <= length <= min(self.most, free) or length <= known:
            return
        self._kept = [(kept, cache) for kept, cache in self._kept if common(ids[:length], kept) < len(kept)]
        self._kept.append((ids[:length], batch.cache.first(length)))
        while self.tokens > self.most:
            self._kept.pop(0)


def common(one: Sequence[int] | Ids, other: Sequence[int] | Ids) -> int:
    """Tokens that two texts begin with alike."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(np.asarray(one[:length]) != np.asarray(other[:length]))
    return int(differ[0]) if len(differ) else length
