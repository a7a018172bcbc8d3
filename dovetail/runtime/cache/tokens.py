"""What one sequence holds in one layer: packed groups, newer tokens as floats, and what a policy notes of each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.packing import packed, unpacked
from dovetail.runtime.cache.stretches import Counts, Stretches

KEYS, VALUES = 0, 1
SUMS, POSITIONS = 0, 1
_SPARE = 64  # tokens that notes have room for beyond those held


class Tokens:
    """Tokens of one sequence in one layer, oldest first; each KV head may hold another number.

    Parameters
    ----------
    keys, values : sequence of Tensor (tokens, channels)
        Of each head.
    notes : sequence of sequence of Tensor (tokens,)
        For each head sums of attention and positions; empty where the policy asks for none.
    groups : KVGroups or None
        How older tokens are packed.
    length : int
        Tokens of the text.
    spare : int
        Room for new tokens.

    Attributes
    ----------
    length : int
        Tokens of the text; its owner keeps it up to date.
    gone, grouped : array (heads,)
        Tokens that are not held any more, and groups that are packed.
    """

    def __init__(
        self, keys: Sequence[Tensor], values: Sequence[Tensor], notes: Sequence[Sequence[Tensor]],
        groups: KVGroups | None, length: int, spare: int,
    ) -> None:  # fmt: skip
        self.groups, self.channels, self.length = groups, keys[0].shape[1], length
        self._store(keys, values, spare)
        self._notes = Stretches.holding(notes, self.held + spare) if notes else None

    def _store(
        self, keys: Sequence[Tensor], values: Sequence[Tensor], spare: int, packed: Sequence[Tensor] = ()
    ) -> None:
        """Make these the tokens held, in new memory: `packed` groups (n, bytes) of each head, then floats."""
        size, floats = self.groups.size if self.groups else 1, np.array([len(head) for head in keys], np.int64)
        before = np.array([len(codes) for codes in packed], np.int64) if packed else np.zeros_like(floats)
        full = floats // size if self.groups else np.zeros_like(floats)
        self.gone: Counts = self.length - before * size - floats
        self.grouped: Counts = before + full
        whole = (full * size).tolist()
        self._coded = None
        if self.groups is not None:
            codes = [self._codes(k[:n], v[:n], self.groups) for k, v, n in zip(keys, values, whole, strict=True)]
            every = [torch.cat(pair) for pair in zip(packed, codes, strict=True)] if packed else codes
            self._coded = Stretches.holding([every], self.grouped)
        loose = [[head[n:] for head, n in zip(part, whole, strict=True)] for part in (keys, values)]
        self._floats = Stretches.holding(loose, self.loose + spare)

    @staticmethod
    def _codes(keys: Tensor, values: Tensor, groups: KVGroups) -> Tensor:
        """Bytes (n, group bytes) of whole groups of tokens."""
        shape = (-1, groups.size, keys.shape[1])
        return packed(keys.reshape(shape), values.reshape(shape), groups)

    @property
    def room(self) -> Counts:
        return self._floats.room

    @property
    def held(self) -> Counts:
        """Tokens of each head."""
        return self.length - self.gone

    @property
    def loose(self) -> Counts:
        """Tokens of each head that are floats."""
        return self.held - self.grouped * (self.groups.size if self.groups else 0)

    @property
    def group_bytes(self) -> int:
        """Of a packed group."""
        return self._coded.parts[0].shape[1] if self._coded is not None else 0

    @property
    def float_bytes(self) -> int:
        """Of a token that is not packed."""
        return 2 * self.channels * self._floats.parts[KEYS].element_size()

    @property
    def allocated(self) -> int:
        """Of all memory."""
        return sum(one.bytes for one in (self._floats, self._coded, self._notes) if one is not None)

    def pointers(self) -> Counts:
        """What the kernel reads (heads, 5): see `attention.FIELDS`."""
        floats, firsts = self._floats.parts, self._floats.begin * self.channels * self._floats.parts[0].element_size()
        found = np.zeros((len(self.held), 5), np.int64)
        found[:, 0], found[:, 1] = (part.data_ptr() + firsts for part in floats)
        found[:, 2] = self.loose
        if self._coded is not None:
            codes = self._coded.parts[0]
            found[:, 3], found[:, 4] = codes.data_ptr() + self._coded.begin * codes.shape[1], self.grouped
        return found

    def head(self, head: int, first: int = 0) -> tuple[Tensor, Tensor]:
        """Keys and values (tokens, channels) of a head, without its `first` packed groups."""
        loose = [self._floats.head(part, head, int(self.loose[head])) for part in (KEYS, VALUES)]
        if self._coded is None or self.groups is None:
            return loose[0], loose[1]
        codes = self._coded.head(0, head, int(self.grouped[head]))[first:]
        older = unpacked(codes, self.channels, self.groups)
        keys, values = (torch.cat((o.flatten(0, 1).to(n), n)) for o, n in zip(older, loose, strict=True))
        return keys, values

    def level(self, tokens: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values (heads, tokens, channels) of all heads and of as many new tokens written behind them.

        None where the heads do not hold equally many, of each kind.
        """
        floats = self._floats.level(int(self.loose[0]) + tokens) if _alike(self.loose) else None
        if floats is None or self._coded is None or self.groups is None:
            return None if floats is None else (floats[KEYS], floats[VALUES])
        codes = self._coded.level(int(self.grouped[0])) if _alike(self.grouped) else None
        if codes is None:
            return None
        older = unpacked(codes[0].flatten(0, 1), self.channels, self.groups)
        shape = (len(self.held), -1, self.channels)
        keys, values = (torch.cat((o.reshape(shape).to(n), n), 1) for o, n in zip(older, floats, strict=True))
        return keys, values

    def noted(self, head: int) -> list[Tensor]:
        """What is noted of a head's tokens: sums and positions (tokens,)."""
        if self._notes is None:
            return []
        return [self._notes.head(part, head, int(self.held[head])) for part in (SUMS, POSITIONS)]

    def write(self, keys: Tensor, values: Tensor) -> None:
        """New tokens (heads, T, channels) behind those held, which do not count yet."""
        slots = self._floats.rows(self.loose, keys.shape[1])
        for part, new in zip(self._floats.parts, (keys, values), strict=True):
            part[slots] = new.flatten(0, 1)

    def reserve(self, tokens: int, spare: int) -> None:
        """Room for so many new tokens; where more is made, `spare` more."""
        if (self.loose + tokens > self.room).any():
            self._floats = self._floats.grown(self.loose, self.loose + tokens + spare)

    def straighten(self, path: Sequence[int]) -> None:
        """Of the tokens written behind those held, put the ones at `path` (increasing) first."""
        if (moved := next((at for at, node in enumerate(path) if node != at), len(path))) < len(path):
            self._floats.move_behind(self.loose, path[moved:], moved)

    def note(self, weights: Tensor, path: Sequence[int], position: int) -> None:
        """What new tokens at `path` paid, weights (heads, T, columns), from their position on; they are held by now."""
        if self._notes is None:
            return
        if (self.held > self._notes.room).any():
            self._notes = self._notes.grown(self.held - len(path), self.held + _SPARE)
        sums, positions = self._notes.parts
        new, nodes = len(path), torch.tensor(path, device=weights.device)
        for head, count in enumerate((self.held - new).tolist()):
            paid = weights[head, nodes].sum(0)
            first = int(self._notes.begin[head])
            sums[first : first + count] += paid[:count]
            sums[first + count : first + count + new] = paid[count + nodes]
            positions[first + count : first + count + new] = torch.arange(
                position, position + new, device=weights.device
            )

    def select(self, kept: Sequence[Tensor], spare: int) -> None:
        """Go on with the tokens at these places of each head; where memory is made, with room for `spare` new ones.

        Groups that stay whole stay as they are packed. Since tokens keep their order, one that loses some of its tokens
        is unpacked, with all behind it, and their tokens are rounded again.
        """
        if self._notes is not None:
            self._notes.select(kept)
        if self.groups is None or self._coded is None:
            self._floats.select(kept)
            self.gone = self.length - np.array([len(places) for places in kept], np.int64)
            return
        packed: list[Tensor] = []
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for head, places in enumerate(kept):
            whole, first = _whole(places, int(self.grouped[head]), self.groups.size)
            rest = places[places >= first * self.groups.size] - first * self.groups.size
            packed.append(self._coded.head(0, head, first)[whole])
            for part, behind in zip((keys, values), self.head(head, first), strict=True):
                part.append(behind[rest])
        self._store(keys, values, spare, packed)

    def pack(self) -> bool:
        """Pack the groups that are full; whether there were some."""
        if self.groups is None or self._coded is None or (self.loose < self.groups.size).all():
            return False
        full, loose = self.loose // self.groups.size, self.loose
        codes = []
        for head, (old, new) in enumerate(zip(self.grouped.tolist(), (full * self.groups.size).tolist(), strict=True)):
            keys, values = (self._floats.head(part, head, new) for part in (KEYS, VALUES))
            fresh = self._codes(keys, values, self.groups)
            codes.append(torch.cat((self._coded.head(0, head, old), fresh)))
        self.grouped = self.grouped + full
        self._coded = Stretches.holding([codes], self.grouped)
        rest = zip((full * self.groups.size).tolist(), loose.tolist(), strict=True)
        self._floats.select([torch.arange(begin, end) for begin, end in rest])
        return True


def _alike(counts: Counts) -> bool:
    return bool((counts == counts[0]).all())


def _whole(places: Tensor, groups: int, size: int) -> tuple[Tensor, int]:
    """Which of the first `n` groups are whole at these places, (n,) of bool; of the next one, `n`, a part is left."""
    staying = torch.bincount(places[places < groups * size] // size, minlength=groups)
    broken = ((staying > 0) & (staying < size)).nonzero().flatten().tolist()
    first = broken[0] if broken else groups
    return staying[:first] == size, first
