"""Memory of one sequence in one layer: for each KV head a stretch of tokens, each as long as its head needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Counts = NDArray[np.int64]


@dataclass(slots=True)
class Stretches:
    """Rows of tokens, head after head.

    Parameters
    ----------
    parts : list of Tensor (slots, …)
        Keys and values (slots, channels), and what else is known of each token.
    begin, room : array (heads,) of int
        First slot of each head, and how many it has.
    """

    parts: list[Tensor]
    begin: Counts
    room: Counts

    @classmethod
    def holding(cls, parts: Sequence[Sequence[Tensor]], room: Counts) -> Stretches:
        """New memory with `room` for each head, that holds for each part and head these tokens."""
        begin = np.concatenate(([0], np.cumsum(room)[:-1]))
        made = []
        for heads in parts:
            memory = heads[0].new_zeros(int(room.sum()), *heads[0].shape[1:])
            for first, tokens in zip(begin.tolist(), heads, strict=True):
                memory[first : first + len(tokens)] = tokens
            made.append(memory)
        return cls(made, begin, room.copy())

    def head(self, part: int, head: int, count: int) -> Tensor:
        """The first `count` tokens of a head; a view."""
        first = int(self.begin[head])
        return self.parts[part][first : first + count]

    def level(self, count: int) -> list[Tensor] | None:
        """The first `count` tokens of all heads together, (heads, count, …) of each part: views.

        None where heads have unequal room.
        """
        room, heads = int(self.room[0]), len(self.room)
        if count > room or not (self.room == room).all():
            return None
        return [part.view(heads, room, *part.shape[1:])[:, :count] for part in self.parts]

    def rows(self, behind: Counts, tokens: int) -> Tensor:
        """Slots (heads * tokens) of the tokens behind the first `behind` (heads,) of each head."""
        places = (self.begin + behind)[:, None] + np.arange(tokens)
        return torch.from_numpy(places.ravel()).to(self.parts[0].device)

    def select(self, kept: Sequence[Tensor]) -> None:
        """Move the tokens at these places of each head to its beginning, in their order."""
        device, firsts = self.parts[0].device, self.begin.tolist()
        sources = torch.cat([row.to(device) + first for row, first in zip(kept, firsts, strict=True)])
        pairs = zip(kept, firsts, strict=True)
        targets = torch.cat([torch.arange(first, first + len(row), device=device) for row, first in pairs])
        for part in self.parts:
            part[targets] = part[sources]

    def move_behind(self, behind: Counts, sources: Sequence[int], target: int) -> None:
        """Move tokens `sources` places behind the first `behind` of each head to `target` places and more."""
        device, first = self.parts[0].device, (self.begin + behind)[:, None]
        places = (np.asarray(sources), np.arange(target, target + len(sources)))
        source, to = (torch.from_numpy((first + place).ravel()).to(device) for place in places)
        for part in self.parts:
            part[to] = part[source]

    def grown(self, counts: Counts, room: Counts) -> Stretches:
        """The first `counts` tokens of each head in new memory."""
        heads = range(len(counts))
        parts = [[self.head(part, head, int(counts[head])) for head in heads] for part in range(len(self.parts))]
        return Stretches.holding(parts, room)

    @property
    def bytes(self) -> int:
        """What is allocated."""
        return sum(part.nbytes for part in self.parts)
