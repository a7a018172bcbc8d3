"""A cache of what a policy keeps: each layer and head of a sequence holds as many tokens as it was left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policy import Held
from dovetail.runtime.cache.stretches import Counts, Stretches
from dovetail.runtime.decoding.cache import KVCache, View

_SPARE = 64  # new tokens that memory is made for where no policy bounds it


class HeldCache(KVCache):
    """Keys and values of sequences whose layers and heads may hold different numbers of tokens.

    `lengths` are the tokens of the texts, which positions follow from. Each sequence has memory of its own in each
    layer: sequences join and leave without a copy, and what a policy drops is freed.

    Parameters
    ----------
    layers : int
    plan : CachePlan
        What is kept, and how.
    device : torch.device or str
    """

    def __init__(self, layers: int, plan: CachePlan, device: torch.device | str = "cpu") -> None:
        super().__init__(layers, 0, 0, device)
        self.plan, self.layers = plan, layers
        self._stretches: list[list[Stretches]] = [[] for _ in range(layers)]
        self._gone = np.zeros((layers, 0, 0), np.int64)  # tokens of a text that a head does not hold any more
        self._room = np.zeros((layers, 0, 0), np.int64)
        self._due: list[int] = []  # lengths at which the policy selects again
        self._ring: Tensor | None = None  # (layers, B, observed, heads, channels): the newest queries, by position
        self._asked: list[Tensor | None] = [None] * layers  # queries (B, T, heads, channels) of the last pass

    def begin(self, length: int, heads: int) -> None:
        """One sequence of a text of `length`, whose layers are then taken in one by one. The cache is empty before."""
        self.lengths = [length]
        self._gone = np.zeros((self.layers, 1, heads), np.int64)
        self._room = np.zeros((self.layers, 1, heads), np.int64)
        self._due = [self._next(length)]

    def take(self, layer: int, held: Held) -> None:
        """All tokens of the only sequence in one layer: those that the policy keeps go to memory of their own."""
        kept = [torch.arange(held.tokens, device=held.keys.device)] * len(held.keys)
        if (policy := self.plan.policy) is not None and self.lengths[0] > (most := self._most(layer, self.lengths[0])):
            kept = policy.chosen(list(policy.scores(held)), most)
        parts = [held.keys, held.values]
        if held.sums is not None and held.positions is not None:
            parts += [held.sums, held.positions]
        counts = np.array([len(row) for row in kept])
        chosen = [[tokens[row] for tokens, row in zip(part, kept, strict=True)] for part in parts]
        stretches = Stretches.holding(chosen, counts + self._spare(0))
        self._stretches[layer] = [stretches]
        self._gone[layer, 0], self._room[layer, 0] = self.lengths[0] - counts, stretches.room
        if self._observed:
            self._remember(layer, held)

    @property
    def held(self) -> Counts:
        """Tokens that each layer, sequence and head holds."""
        found: Counts = np.array(self.lengths, np.int64)[None, :, None] - self._gone
        return found

    @property
    def bytes(self) -> int:
        """What the keys and values held take."""
        per_token = sum(part[:1].nbytes for layer in self._stretches[:1] for one in layer[:1] for part in one.parts[:2])
        return int(self.held.sum()) * per_token

    @property
    def allocated(self) -> int:
        """Bytes of all memory: room for new tokens, and what the policy remembers, too."""
        memory = sum(one.bytes for layer in self._stretches for one in layer)
        return memory + (0 if self._ring is None else self._ring.nbytes)

    def reserve(self, tokens: int) -> None:
        """Select again where it is due, and make room for so many new tokens of every sequence: before each pass."""
        self.settle()
        held = self.held
        for layer, row in np.argwhere((held + tokens > self._room).any(2)):
            counts = held[layer, row]
            grown = self._stretches[layer][row].grown(counts, counts + self._spare(tokens))
            self._stretches[layer][row], self._room[layer, row] = grown, grown.room

    def settle(self) -> None:
        """Let the policy select again in the sequences that have grown beyond its budget."""
        for row, (length, due) in enumerate(zip(self.lengths, self._due, strict=True)):
            if length >= due:
                for layer in range(self.layers):
                    self._select(layer, row)
                self._due[row] = self._next(length)

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, view: View, window: int | None) -> Tensor:
        """As `KVCache.attend`."""
        if window is not None:
            raise DovetailError("a cache policy on a model with windows", hint="a model whose tokens see all before them")
        if self._observed:
            self._asked[layer] = queries.transpose(1, 2)
        found = []
        for row, stretches in enumerate(self._stretches[layer]):
            behind = self.held[layer, row]
            slots = stretches.rows(behind, view.tokens)
            for part, new in zip(stretches.parts, (keys[row], values[row]), strict=False):
                part[slots] = new.flatten(0, 1)
            found.append(_attended(queries[row], stretches, behind, view.new(row)))
        return torch.stack(found).transpose(1, 2).flatten(2)

    def keep(self, counts: list[int]) -> None:
        for row, count in enumerate(counts):
            self.keep_path(row, list(range(count)))

    def keep_path(self, sequence: int, path: list[int]) -> None:
        self._recall(sequence, path)
        count = len(path)
        moved = next((at for at, node in enumerate(path) if node != at), count)
        if moved < count:
            source, target = np.array(path[moved:]), np.arange(moved, count)
            held = self.held
            for layer in range(self.layers):
                stretches = self._stretches[layer][sequence]
                first = (stretches.begin + held[layer, sequence])[:, None]
                sources, targets = (torch.from_numpy((first + at).ravel()) for at in (source, target))
                stretches.move(sources.to(self.device), targets.to(self.device))
        self.lengths[sequence] += count

    def shorten(self, lengths: list[int]) -> None:
        """Forget the newest tokens; those that a policy dropped before do not come back."""
        super().shorten(lengths)
        if (self.held < 0).any():
            raise DovetailError("a cache shortened beyond what it holds", where="cache", hint="a cache without a policy")

    def drop(self, kept: list[int]) -> None:
        self.lengths, self._due = ([rows[index] for index in kept] for rows in (self.lengths, self._due))
        self._stretches = [[layer[index] for index in kept] for layer in self._stretches]
        self._gone, self._room = self._gone[:, kept], self._room[:, kept]
        if self._ring is not None:
            self._ring = self._ring[:, kept]

    def join(self, other: KVCache) -> None:
        """The sequences of another cache of the same plan behind those of this one; nothing is copied."""
        if not isinstance(other, HeldCache) or other.plan != self.plan or other.layers != self.layers:
            raise DovetailError("caches of two kinds", where="cache", hint="prefill with the plan of the batch")
        alone = not self.lengths
        self.lengths, self._due = self.lengths + other.lengths, self._due + other._due
        for mine, theirs in zip(self._stretches, other._stretches, strict=True):
            mine.extend(theirs)
        if alone:
            self._gone, self._room, self._ring = other._gone, other._room, other._ring
            return
        self._gone, self._room = (
            np.concatenate(pair, 1) for pair in ((self._gone, other._gone), (self._room, other._room))
        )
        if self._ring is not None and other._ring is not None:
            self._ring = torch.cat((self._ring, other._ring), 1)

    @property
    def _observed(self) -> int:
        return 0 if self.plan.policy is None else self.plan.policy.observed

    def _most(self, layer: int, length: int) -> int:
        return length if self.plan.policy is None else int(self.plan.policy.kept(length, layer, self.layers))

    def _next(self, length: int) -> int:
        """The length at which a text is selected from next."""
        if self.plan.policy is None:
            return 1 << 62
        budget = self.plan.policy.budget
        return max(budget.keep, length - (length - budget.keep) % budget.slack) + budget.slack

    def _spare(self, tokens: int) -> int:
        """Room beyond the tokens held, for `tokens` in the next pass."""
        return tokens + (_SPARE if self.plan.policy is None else self.plan.policy.budget.slack)

    def _remember(self, layer: int, held: Held) -> None:
        """Keep the newest queries of a prompt: each in the place that its position says."""
        assert held.queries is not None  # noqa: S101
        heads, group, count, channels = held.queries.shape
        if self._ring is None:
            shape = (self.layers, 1, self._observed, heads * group, channels)
            self._ring = held.queries.new_zeros(shape)
        places = torch.arange(held.length - count, held.length, device=self.device) % self._observed
        self._ring[layer, 0, places] = held.queries.flatten(0, 1).transpose(0, 1)

    def _recall(self, row: int, path: list[int]) -> None:
        """Keep the queries of a pass that are on the path."""
        if self._ring is None or not path:
            return
        path = path[-self._observed :]
        length = self.lengths[row] + len(path)
        places = torch.arange(length - len(path), length, device=self.device) % self._observed
        nodes = torch.tensor(path, device=self.device)
        for layer, asked in enumerate(self._asked):
            if asked is not None:
                self._ring[layer, row, places] = asked[row, nodes] 

    def _newest(self, layer: int, row: int) -> Tensor | None:
        """The newest queries (heads, group, n, channels), oldest first."""
        if self._ring is None:
            return None
        length = self.lengths[row]
        places = torch.arange(max(0, length - self._observed), length, device=self.device) % self._observed
        found = self._ring[layer, row, places].transpose(0, 1)
        return found.unflatten(0, (self._gone.shape[2], -1))

    def _select(self, layer: int, row: int) -> None:
        policy, length = self.plan.policy, self.lengths[row]
        counts, stretches = self.held[layer, row], self._stretches[layer][row]
        if policy is None or counts.sum() <= len(counts) * (most := self._most(layer, length)):
            return
        queries = self._newest(layer, row)
        scores = []
        for head, count in enumerate(counts.tolist()):
            parts = [stretches.head(part, head, count).unsqueeze(0) for part in range(len(stretches.parts))]
            own = None if queries is None else queries[head : head + 1]
            keys, values, sums, positions = (*parts, None, None)[:4]
            scores += list(policy.scores(Held(keys, values, own, sums, positions, length)))
        kept = policy.chosen(scores, most)
        firsts = stretches.begin.tolist()
        sources = torch.cat([places + first for places, first in zip(kept, firsts, strict=True)])
        targets = torch.cat([torch.arange(first, first + len(places)) for places, first in zip(kept, firsts, strict=True)])
        stretches.move(sources, targets.to(sources.device))
        self._gone[layer, row] = length - np.array([len(places) for places in kept])


def _attended(queries: Tensor, stretches: Stretches, behind: Counts, new: Tensor) -> Tensor:
    """Attention (heads, T, channels) of new tokens to a sequence's tokens and, as `new` (T, T) has it, to each other."""
    tokens, longest = queries.shape[1], int(behind.max()) + queries.shape[1]
    column = np.arange(longest)[None]
    slots = torch.from_numpy(stretches.begin[:, None] + np.minimum(column, behind[:, None] + tokens - 1))
    keys, values = (part[slots] for part in stretches.parts[:2])
    offset = torch.from_numpy(column - behind[:, None]).to(new.device)  # (heads, columns): which new token it is
    inside = (offset >= 0) & (offset < tokens)
    shown = new[:, offset.clamp(0, tokens - 1)].transpose(0, 1) & inside.unsqueeze(1)
    mask = ((offset < 0).unsqueeze(1) | shown).repeat_interleave(len(queries) // len(keys), 0)
    found = functional.scaled_dot_product_attention(
        queries.unsqueeze(0), keys.unsqueeze(0), values.unsqueeze(0), mask.unsqueeze(0),
        enable_gqa=len(queries) != len(keys),
    )  # fmt: skip
    return found[0]
