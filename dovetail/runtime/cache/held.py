"""A cache of what a policy keeps: each layer and head of a sequence holds as many tokens as it was left."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dovetail.core.errors import DovetailError
from dovetail.runtime.cache.attention import FIELDS, Table, attended, takes
from dovetail.runtime.cache.newest import Newest
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policy import Held
from dovetail.runtime.cache.stretches import Counts
from dovetail.runtime.cache.tokens import Tokens
from dovetail.runtime.decoding.cache import KVCache, View

_SPARE = 64  # new tokens that memory is made for where no policy bounds it
_NEVER = 1 << 62


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

    windows = False

    def __init__(self, layers: int, plan: CachePlan, device: torch.device | str = "cpu") -> None:
        super().__init__(layers, 0, 0, device)
        self.plan, self.layers, self.groups = plan, layers, plan.groups
        self.tokens: list[list[Tokens]] = [[] for _ in range(layers)]
        self._places = np.zeros((layers, 0, 0, len(FIELDS)), np.int64)
        self._aside = np.zeros((layers, 0, 0), np.int64)  # tokens of a text that are no floats here: gone, or packed
        self._room = np.zeros((layers, 0, 0), np.int64)  # floats that there is memory for
        self._due: list[int] = []  # lengths at which the policy selects again
        self._newest = Newest(layers, 0 if plan.policy is None else plan.policy.observed)
        self._paid: list[Tensor] = []  # by layer: what the tokens of the last pass paid, where the policy sums it

    def begin(self, length: int, heads: int) -> None:
        """One sequence of a text of `length`, whose layers are then taken in one by one. The cache is empty before."""
        self.lengths, self._due = [length], [self._next(length)]
        self._places = np.zeros((self.layers, 1, heads, len(FIELDS)), np.int64)
        self._aside, self._room = np.zeros((2, self.layers, 1, heads), np.int64)

    def take(self, layer: int, held: Held) -> None:
        """All tokens of the only sequence in one layer: those that the policy keeps go to memory of their own."""
        policy, length = self.plan.policy, self.lengths[0]
        kept = [torch.arange(held.tokens, device=self.device)] * len(held.keys)
        if policy is not None and length > (most := self._most(layer, length)):
            scores = [row for head in held.heads() for row in policy.scores(head)]
            kept = policy.chosen(scores, most, self._step)
        parts = [held.keys, held.values, *(x for x in (held.sums, held.positions) if x is not None)]
        chosen = [[tokens[row] for tokens, row in zip(part, kept, strict=True)] for part in parts]
        self.tokens[layer] = [Tokens(chosen[0], chosen[1], chosen[2:], self.plan.groups, length, self._spare)]
        self._place(layer, 0)
        if held.queries is not None and length + self._newest.count > self._due[0]:
            self._newest.begin(layer, held.queries.flatten(0, 1), length)

    @property
    def held(self) -> Counts:
        """Tokens that each layer, sequence and head holds: (layers, B, heads)."""
        gone = np.array([[one.gone for one in layer] for layer in self.tokens])
        found: Counts = np.array(self.lengths)[None, :, None] - gone
        return found

    @property
    def bytes(self) -> int:
        """What the keys and values held take, with their scales."""
        found = self._loose().sum(2)
        return sum(
            int(found[layer, row]) * one.float_bytes + int(one.grouped.sum()) * one.group_bytes
            for layer, row, one in self._every()
        )

    @property
    def allocated(self) -> int:
        """Bytes of all memory: room for new tokens, and what the policy remembers, too."""
        return sum(one.allocated for _, _, one in self._every()) + self._newest.bytes

    def reserve(self, tokens: int) -> None:
        """Settle, and make room for so many new tokens of every sequence: before each pass."""
        self.settle()
        loose = self._loose()
        for layer, row in np.argwhere((loose + tokens > self._room).any(2)):
            self.at(layer, row).reserve(tokens, self._spare)
            self._place(layer, row)
        self._places[..., FIELDS.index("held")] = loose
        pairs = zip(self.lengths, self._due, strict=True)
        self._newest.watch(any(length + tokens > due - self._newest.count for length, due in pairs))
        self._paid = []

    def settle(self) -> None:
        """Let the policy select again in sequences that have grown beyond its budget, and pack groups that are full."""
        for row, (length, due) in enumerate(zip(self.lengths, self._due, strict=True)):
            if length >= due:
                for layer in range(self.layers):
                    self._select(layer, row)
                self._due[row] = self._next(length)
        if self.plan.groups is not None:
            for layer, row in np.argwhere((self._loose() >= self.plan.groups.size).any(2)):
                self.at(layer, row).pack()
                self._place(layer, row)

    def laid(self, heads: int, channels: int) -> Table:
        """As `KVCache.laid`, as of the last `reserve`."""
        found: Table = self._places
        return found

    def asked(self, heads: int, tokens: int, channels: int) -> Tensor | None:
        """As `KVCache.asked`: where the policy selects again soon."""
        return self._newest.room(len(self.lengths), tokens, heads, channels)

    def paid(self, heads: int, tokens: int) -> list[Tensor]:
        """As `KVCache.paid`: where the policy sums it."""
        if self.plan.policy is not None and self.plan.policy.sums:
            like = torch.empty(0, heads, device=self.device)
            every = (self._weights(layer, like, tokens) for layer in range(self.layers))
            self._paid = [weights for weights in every if weights is not None]
        return self._paid

    def places(self, layer: int) -> Table:
        """Where the kernel finds what each sequence and head holds, as of the last `reserve`."""
        found: Table = self._places[layer]
        return found

    @property
    def undisturbed(self) -> int:
        """Tokens that may come to every sequence before the policy selects again, or a group is packed."""
        found = min(due - length for due, length in zip(self._due, self.lengths, strict=True))
        if self.plan.groups is not None:
            found = min(found, self.plan.groups.size - int(self._loose().max()))
        return max(1, found)

    def attend(
        self, layer: int, queries: Tensor, keys: Tensor, values: Tensor, view: View, window: int | None
    ) -> Tensor:
        """As `KVCache.attend`."""
        if window is not None:
            hint = "a model whose tokens see all before them"
            raise DovetailError("a cache policy on a model with windows", where="cache", hint=hint)
        self._newest.asked(layer, queries)
        weights = self._weights(layer, keys, view.tokens)
        if takes(queries):
            out = attended(self._places[layer], queries, keys, values, view.seen(None), self.plan.groups, weights)
        else:
            rows = [self._attended(layer, row, queries, keys, values, view, weights) for row in range(len(queries))]
            out = torch.stack(rows).transpose(1, 2).flatten(2)
        if weights is not None:
            self._paid.append(weights)
        return out

    def keep(self, counts: list[int]) -> None:
        for row, count in enumerate(counts):
            self.keep_path(row, list(range(count)))

    def keep_path(self, sequence: int, path: list[int]) -> None:
        length = self.lengths[sequence]
        self._newest.keep(sequence, path, length)
        self.lengths[sequence] += len(path)
        if path != list(range(len(path))):
            for layer in range(self.layers):
                self.tokens[layer][sequence].length = length
                self.tokens[layer][sequence].straighten(path)
        for layer, weights in enumerate(self._paid):
            self.at(layer, sequence).note(weights[sequence], path, length)

    def shorten(self, lengths: list[int]) -> None:
        """Forget the newest tokens, of those that are not packed; what a policy dropped before does not come back."""
        super().shorten(lengths)
        if (self._loose() < 0).any():
            raise DovetailError("a cache shortened beyond its floats", where="cache", hint="a cache without a recipe")

    def drop(self, kept: list[int]) -> None:
        self.lengths, self._due = ([rows[index] for index in kept] for rows in (self.lengths, self._due))
        self.tokens = [[layer[index] for index in kept] for layer in self.tokens]
        for name in ("_places", "_aside", "_room"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, kept]))  # the kernel reads rows in order
        self._newest.drop(kept)

    def join(self, other: KVCache) -> None:
        """The sequences of another cache of the same plan behind those of this one; their memory is not copied."""
        if not isinstance(other, HeldCache) or other.plan != self.plan or other.layers != self.layers:
            raise DovetailError("caches of two kinds", where="cache", hint="prefill with the plan of the batch")
        for name in ("_places", "_aside", "_room"):
            parts = [getattr(cache, name) for cache in (self, other) if cache.lengths]
            setattr(self, name, np.concatenate(parts, 1) if parts else getattr(self, name))
        self._newest.join(other._newest, (len(self.lengths), len(other.lengths)))
        self.lengths, self._due = self.lengths + other.lengths, self._due + other._due
        for mine, theirs in zip(self.tokens, other.tokens, strict=True):
            mine.extend(theirs)

    def _every(self) -> list[tuple[int, int, Tokens]]:
        return [(layer, row, one) for layer, rows in enumerate(self.tokens) for row, one in enumerate(rows)]

    def _loose(self) -> Counts:
        """Tokens that are floats: (layers, B, heads)."""
        found: Counts = np.array(self.lengths, np.int64)[None, :, None] - self._aside
        return found

    def at(self, layer: int, row: int) -> Tokens:
        """What a sequence holds in a layer."""
        one = self.tokens[layer][row]
        one.length = self.lengths[row]
        return one

    def _place(self, layer: int, row: int) -> None:
        """Where the tokens of a sequence lie in a layer, once that has changed."""
        one = self.at(layer, row)
        self._places[layer, row] = one.pointers()
        self._aside[layer, row], self._room[layer, row] = one.length - one.loose, one.room

    def _most(self, layer: int, length: int) -> int:
        return length if self.plan.policy is None else int(self.plan.policy.kept(length, layer, self.layers))

    def _next(self, length: int) -> int:
        """The length at which a text is selected from next."""
        if self.plan.policy is None:
            return _NEVER
        keep, slack = self.plan.policy.budget.keep, self.plan.policy.budget.slack
        return max(keep, length - (length - keep) % slack) + slack

    @property
    def _step(self) -> int:
        """What heads differ by a multiple of."""
        return 1 if self.plan.groups is None else self.plan.groups.size

    @property
    def _spare(self) -> int:
        return _SPARE if self.plan.policy is None else self.plan.policy.budget.slack

    def _select(self, layer: int, row: int) -> None:
        policy, length, tokens = self.plan.policy, self.lengths[row], self.at(layer, row)
        heads = len(tokens.held)
        if policy is None or tokens.held.sum() <= heads * (most := self._most(layer, length)):
            return
        queries = self._newest.of(layer, row, length)
        group = None if queries is None else queries.reshape(heads, -1, *queries.shape[1:])
        scores: list[Tensor] = []
        for head in range(heads):
            keys, values = (x.unsqueeze(0) for x in tokens.head(head))
            sums, positions = (*(x.unsqueeze(0) for x in tokens.noted(head)), None, None)[:2]
            own = None if group is None else group[head : head + 1]
            scores += list(policy.scores(Held(keys, values, own, sums, positions, length)))
        tokens.select(policy.chosen(scores, most, self._step, tokens.grouped.tolist()), self._spare)
        self._place(layer, row)

    def _weights(self, layer: int, keys: Tensor, tokens: int) -> Tensor | None:
        """Where what new tokens pay in a layer is written: (B, KV heads, tokens, columns)."""
        if self.plan.policy is None or not self.plan.policy.sums:
            return None
        columns = max(int(self.at(layer, row).held.max()) for row in range(len(self.lengths))) + tokens
        return keys.new_zeros(len(self.lengths), keys.shape[1], tokens, columns, dtype=torch.float32)

    def _attended(
        self, layer: int, row: int, queries: Tensor, keys: Tensor, values: Tensor, view: View, weights: Tensor | None
    ) -> Tensor:
        """By torch: (heads, T, channels) of one sequence; heads that hold equally many are attended together."""
        tokens, new, count = self.at(layer, row), view.new(row), keys.shape[1]
        tokens.write(keys[row], values[row])
        asking = queries[row].reshape(count, -1, *queries.shape[2:])
        if (level := tokens.level(view.tokens)) is not None:
            return _paying(asking, *level, new, None if weights is None else weights[row]).flatten(0, 1)
        found = []
        for head in range(count):
            own, paid = slice(head, head + 1), None if weights is None else weights[row, head : head + 1]
            every = [torch.cat((o, n[row, head]))[None] for o, n in zip(tokens.head(head), (keys, values), strict=True)]
            found.append(_paying(asking[own], every[0], every[1], new, paid))
        return torch.cat(found).flatten(0, 1)


def _paying(queries: Tensor, keys: Tensor, values: Tensor, new: Tensor, weights: Tensor | None) -> Tensor:
    """Attention (heads, group, T, channels) of new tokens to keys (heads, tokens, channels), the newest their own.

    Parameters
    ----------
    new : Tensor (T, T) of bool
        Which new tokens each sees.
    weights : Tensor (heads, T, columns) or None
        Filled with what each new token pays, summed over a group.
    """
    count, scale = keys.shape[1], keys.shape[2] ** -0.5
    shown = functional.pad(new, (count - len(new), 0), value=True)
    scores = queries.float() @ keys.float().transpose(1, 2).unsqueeze(1) * scale
    paid = scores.masked_fill(~shown, float("-inf")).softmax(-1)
    if weights is not None:
        weights[..., :count] = paid.sum(1)
    out: Tensor = paid.to(values.dtype) @ values.unsqueeze(1)
    return out
