"""A KV cache in preallocated memory: sequences of different lengths, and tokens that may turn out wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from sys import maxsize

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.cache.attention import FIELDS, Seen, Table, attended, takes

_LEAST = 64  # positions to begin with
_SPARE = 8  # times the memory that is needed: with more, it is given back


@dataclass(slots=True)
class View:
    """What the new tokens of a pass see, for all layers.

    Parameters
    ----------
    tokens : int
        New ones of each sequence.
    visible : Tensor (tokens, tokens) or (B, tokens, tokens) of bool, or None
        Which new tokens each new token sees; None: those up to itself.
    positions : Tensor (B, tokens)
        Of the new tokens.
    masks : dict
        By the model's windows: see `seen`.
    """

    tokens: int
    visible: Tensor | None
    positions: Tensor
    masks: dict[int | None, Tensor | None] = field(default_factory=dict)
    _seen: dict[int | None, Seen] = field(default_factory=dict)

    def seen(self, window: int | None) -> Seen:
        """What the new tokens see, as the kernel reads it."""
        if window not in self._seen:
            self._seen[window] = self._limited(window)
        return self._seen[window]

    def _limited(self, window: int | None) -> Seen:
        visible = self.visible
        if window is None:
            return Seen(None if visible is None else visible.to(torch.uint8).contiguous())
        new = _triangle(self.tokens, self.positions.device) if visible is None else visible
        near = self.positions.unsqueeze(1) > self.positions.unsqueeze(2) - window
        return Seen((new & near).to(torch.uint8).contiguous(), (self.positions - window + 1).clamp(min=0).contiguous())

    def new(self, row: int) -> Tensor:
        """Which new tokens each new token of a sequence sees: (tokens, tokens)."""
        if self.visible is None:
            return _triangle(self.tokens, self.positions.device)
        return self.visible if self.visible.dim() == 2 else self.visible[row]


class KVCache:
    """Keys and values of all layers of `batch` sequences.

    Memory is laid out as (B, heads, positions, channels): what a head reads is one stretch of it.

    A forward pass writes its tokens behind the `lengths` of their sequences; only what is then kept counts. Memory for
    keys and values is made at the first write, and doubled when it is full.

    Parameters
    ----------
    layers, batch : int
    capacity : int
        Positions to begin with.
    device : torch.device or str
        Where the model computes, hence where positions and masks are made.

    Attributes
    ----------
    lengths : list of int
        Tokens that each sequence holds.
    most : int
        Positions of all sequences together that there may be memory for beyond what is needed.
    """

    windows = True  # whether layers may see no more than a window
    groups: KVGroups | None = None  # how older tokens are packed

    def __init__(self, layers: int, batch: int, capacity: int = _LEAST, device: torch.device | str = "cpu") -> None:
        self.keys: list[Tensor | None] = [None] * layers
        self.values: list[Tensor | None] = [None] * layers
        self.lengths = [0] * batch
        self.capacity, self.device = capacity, device
        self.most = maxsize
        self._slots = batch  # sequences that there is memory for
        self._rows = torch.arange(batch, device=device).unsqueeze(1)
        self._behind: Tensor | None = None  # (B, T): places of the tokens of this pass, once they are asked for
        self._token_bytes = 0  # of all layers, once it is asked for and known
        self._laid: Table | None = None  # what `laid` found, while memory is where it was

    @property
    def longest(self) -> int:
        return max(self.lengths, default=0)

    @property
    def even(self) -> bool:
        """Whether all sequences are of one length."""
        return min(self.lengths, default=0) == self.longest

    def positions(self, depths: Sequence[Sequence[int]]) -> Tensor:
        """Positions (B, T) of new tokens that are `depths` (B, T) behind the first new one of their sequence."""
        found = [[length + depth for depth in row] for length, row in zip(self.lengths, depths, strict=True)]
        return torch.tensor(found, device=self.device)

    def following(self, tokens: int) -> Tensor:
        """Positions (B, tokens) right behind the tokens held."""
        return torch.from_numpy(np.array(self.lengths, np.int64)[:, None] + np.arange(tokens)).to(self.device)

    @property
    def bytes(self) -> int:
        """What the keys and values held take, unused positions aside."""
        if not self._token_bytes:
            held = [store for store in (*self.keys, *self.values) if store is not None]
            self._token_bytes = sum(store.shape[1] * store.shape[3] * store.element_size() for store in held)
        return self._token_bytes * sum(self.lengths)

    @property
    def room(self) -> int:
        """Positions of all sequences together that there is memory for."""
        return self._slots * self.capacity if any(held is not None for held in self.keys) else 0

    def reserve(self, tokens: int) -> None:
        """Make room for so many new tokens of every sequence: before each pass."""
        needed = self.longest + tokens
        if needed > self.capacity:
            rows = len(self.lengths)
            self._resize(rows, max(needed, min(2 * self.capacity, self.most // max(1, rows))))
        self._behind = None

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put new keys and values (B, heads, T, channels) behind those held, and give all: (B, heads, longest + T, …).

        Beyond a sequence's own tokens lies what was there before: a mask has to leave it out.
        """
        pairs = ((self.keys, keys), (self.values, values))
        found = [self._written(store, layer, new) for store, new in pairs]
        return found[0], found[1]

    def laid(self, heads: int, channels: int) -> Table:
        """Where a kernel finds what each layer, sequence and head holds: (layers, B, heads, `FIELDS`), fp32."""
        if self._laid is None:
            like = torch.empty(0, heads, 0, channels, dtype=torch.float32, device=self.device)
            self._laid = np.stack([self._table(layer, like) for layer in range(len(self.keys))])
        self._laid[..., FIELDS.index("held")] = np.array(self.lengths)[:, None]
        return self._laid

    def asked(self, heads: int, tokens: int, channels: int) -> Tensor | None:
        """Where a pass leaves its queries (layers, B, tokens, heads, channels); None where nobody reads them."""

    def paid(self, heads: int, tokens: int) -> list[Tensor]:
        """Where a pass leaves, for each layer, what its tokens pay to others; none where nobody reads it."""
        return []

    def _table(self, layer: int, like: Tensor) -> Table:
        """Where the kernel finds the heads of each sequence."""
        for stores in (self.keys, self.values):
            if stores[layer] is None:
                stores[layer] = self._empty(like)
        keys, values = self.keys[layer], self.values[layer]
        batch, (_, heads, room, channels) = len(self.lengths), keys.shape  # type: ignore[union-attr]
        table = np.zeros((batch, heads, len(FIELDS)), np.int64)
        places = np.arange(batch * heads).reshape(batch, heads) * (room * channels * like.element_size())
        table[..., 0], table[..., 1] = places + keys.data_ptr(), places + values.data_ptr()  # type: ignore[union-attr]
        table[..., 2] = np.array(self.lengths)[:, None]
        return table

    def _written(self, stores: list[Tensor | None], layer: int, new: Tensor) -> Tensor:
        """One layer's keys or values with new ones (B, heads, T, channels) behind them."""
        stores[layer] = store = self._empty(new) if (held := stores[layer]) is None else held
        tokens, longest, batch = new.shape[2], self.longest, len(self.lengths)
        if self.even:
            store[:batch, :, longest : longest + tokens] = new
        else:
            if self._behind is None:
                self._behind = self.following(tokens)
            store[self._rows, :, self._behind] = new.transpose(1, 2)
        return store[:batch, :, : longest + tokens]

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, view: View, window: int | None
    ) -> Tensor:
        """What new tokens get from those held and from each other: (B, T, heads * channels); they are written, too.

        Parameters
        ----------
        queries, keys, values : Tensor (B, heads, T, channels)
            Keys and values may have fewer heads; queries and keys are turned by their rotary angles.
        window : int or None
            Positions that a token sees at most.
        """
        if takes(queries) and (self.longest or view.tokens == 1):
            return attended(self._table(layer, keys), queries, keys, values, view.seen(window))
        keys, values = self.write(layer, keys, values)
        if window not in view.masks:
            view.masks[window] = _mask(self, view, window)
        mask = view.masks[window]
        causal = mask is None and view.tokens > 1  # see `_mask`
        grouped = queries.shape[1] != keys.shape[1]
        out = functional.scaled_dot_product_attention(queries, keys, values, mask, is_causal=causal, enable_gqa=grouped)
        return out.transpose(1, 2).flatten(2)

    def settle(self) -> None:
        """Drop what a policy does not keep, after each step; nothing here."""

    def keep(self, counts: list[int]) -> None:
        """The first `counts` tokens of the last pass belong to their sequences."""
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]

    def keep_path(self, sequence: int, path: list[int]) -> None:
        """Of the last pass, the tokens at `path` (increasing) belong to a sequence, in that order."""
        begin, count = self.lengths[sequence], len(path)
        moved = next((at for at, node in enumerate(path) if node != at), count)  # those before it lie where they belong
        if moved < count:
            source = torch.tensor(path[moved:], device=self.device) + begin
            for store in (*self.keys, *self.values):
                if store is not None:
                    store[sequence, :, begin + moved : begin + count] = store[sequence].index_select(1, source)
        self.lengths[sequence] += count

    def shorten(self, lengths: list[int]) -> None:
        """Forget what lies behind the first `lengths` tokens of each sequence."""
        self.lengths = [min(old, new) for old, new in zip(self.lengths, lengths, strict=True)]

    def first(self, tokens: int) -> KVCache:
        """A copy of the first tokens of the only sequence, in memory of their length."""
        found = KVCache(len(self.keys), 1, tokens, self.device)
        found.lengths = [tokens]
        for mine, own in ((found.keys, self.keys), (found.values, self.values)):
            mine[:] = [None if held is None else held[:1, :, :tokens].clone() for held in own]
        return found

    def drop(self, kept: list[int]) -> None:
        """Go on with some of the sequences, in that order; those whose place stays are not copied."""
        to = [place for place, row in enumerate(kept) if place != row]
        if to:
            longest, source = self.longest, [kept[place] for place in to]
            for store in (*self.keys, *self.values):
                if store is not None:
                    store[to, :, :longest] = store[source, :, :longest]
        self._hold([self.lengths[row] for row in kept])
        if kept and self._slots * self.capacity > _SPARE * len(kept) * max(self.longest, _LEAST):
            self._resize(len(kept), max(2 * self.longest, _LEAST))

    def join(self, other: KVCache) -> None:
        """Go on with the sequences of another cache of the same model as well, which come behind."""
        begin, longest = len(self.lengths), other.longest
        self._hold([*self.lengths, *other.lengths])
        if len(self.lengths) > self._slots or longest > self.capacity:
            rows = len(self.lengths)
            room = self._slots if rows <= self._slots else max(rows, 2 * self._slots)
            capacity = max(longest, self.capacity)
            if room * capacity > self.most:
                room, capacity = rows, max(self.longest, min(capacity, self.most // rows))
            self._resize(room, capacity)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, new in enumerate(theirs):
                if new is not None:
                    mine[layer] = store = self._empty(new) if (held := mine[layer]) is None else held
                    store[begin : len(self.lengths), :, :longest] = new[: len(other.lengths), :, :longest]

    def _hold(self, lengths: list[int]) -> None:
        self.lengths, self._laid = lengths, None
        self._rows = torch.arange(len(lengths), device=self.device).unsqueeze(1)

    def _resize(self, room: int, capacity: int) -> None:
        """Other memory for the same tokens."""
        self._slots, self.capacity, self._laid = room, capacity, None
        for stores in (self.keys, self.values):
            for layer, old in enumerate(stores):
                if old is not None:
                    stores[layer] = new = self._empty(old)
                    rows, positions = min(room, len(self.lengths), len(old)), min(capacity, old.shape[2])
                    new[:rows, :, :positions] = old[:rows, :, :positions]

    def _empty(self, like: Tensor) -> Tensor:
        """Memory for the heads and channels of a tensor (B, heads, …, channels)."""
        shape = (self._slots, like.shape[1], self.capacity, like.shape[3])
        return torch.zeros(shape, dtype=like.dtype, device=like.device)


def _mask(cache: KVCache, view: View, window: int | None) -> Tensor | None:
    """As `seen`; None for the first tokens of a text as well: attention draws their triangle itself, in less time."""
    first = view.visible is None and cache.longest == 0 and (window is None or view.tokens <= window)
    return None if first else seen(cache, view.tokens, view.visible, view.positions, window)


def seen(cache: KVCache, tokens: int, visible: Tensor | None, positions: Tensor, window: int | None) -> Tensor | None:
    """Which cached and new keys each new token sees: bool (B, 1, tokens, longest + tokens), or None for all of them.

    Parameters
    ----------
    visible : Tensor (tokens, tokens) or (B, tokens, tokens) of bool, or None
        Which new tokens each new token sees; None: those up to itself.
    positions : Tensor (B, tokens)
        Of the new tokens; needed where there is a window.
    window : int or None
        Positions that a token sees at most, its own among them.
    """
    if tokens == 1 and cache.even and (window is None or cache.longest < window):
        return None
    new = visible if visible is not None else _triangle(tokens, cache.device)
    found = _even(cache, tokens, new) if cache.even else _ragged(cache, tokens, new)
    if window is not None:
        place = _places(cache, tokens, positions)
        found = found & (place.unsqueeze(1) > positions.unsqueeze(2) - window)
    return found.unsqueeze(1)


def _triangle(tokens: int, device: torch.device | str) -> Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()


def _even(cache: KVCache, tokens: int, new: Tensor) -> Tensor:
    """(B or 1, tokens, longest + tokens): everything held, and what is `new`."""
    old = torch.ones(tokens, cache.longest, dtype=torch.bool, device=cache.device)
    if new.dim() == 2:
        return torch.cat((old, new), 1).unsqueeze(0)
    return torch.cat((old.expand(len(new), -1, -1), new), 2)


def _ragged(cache: KVCache, tokens: int, new: Tensor) -> Tensor:
    """(B, tokens, longest + tokens): what each sequence holds, and what is `new` right behind it."""
    lengths = torch.tensor(cache.lengths, device=cache.device).unsqueeze(1)
    if tokens == 1:
        return (torch.arange(cache.longest + 1, device=cache.device) <= lengths).unsqueeze(1)
    offset = torch.arange(cache.longest + tokens, device=cache.device) - lengths  # (B, all): which new token lies there
    inside = ((offset >= 0) & (offset < tokens)).unsqueeze(1)
    every = new.expand(len(offset), -1, -1)
    place = offset.clamp(0, tokens - 1).unsqueeze(1).expand(-1, tokens, -1)
    return (offset < 0).unsqueeze(1) | (every.gather(2, place) & inside)


def _places(cache: KVCache, tokens: int, positions: Tensor) -> Tensor:
    """The position of each cached and new key: (B, longest + tokens)."""
    place = torch.arange(cache.longest + tokens, device=cache.device).repeat(len(cache.lengths), 1)
    for row, length in enumerate(cache.lengths):
        place[row, length : length + tokens] = positions[row]
    return place
