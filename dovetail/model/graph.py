"""The operator graph of one forward pass: what is multiplied, attended and moved, with shapes as arrays.

A graph describes `tokens` new tokens for each of `batch` sequences that already hold `context` tokens: prefill is
``context=0``, decode is ``tokens=1``, a chunk of prefill is both. Shapes may be arrays of points; they broadcast.
Operators that repeat over layers appear once, with the layers they stand for, so cost is per kind and not per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.kv_groups import KVGroups
from dovetail.model.operators import Attention, Operator, Weight


@dataclass(frozen=True, slots=True, eq=False)
class Cache(ByContent):
    """What some layers keep between steps: `length` rows for each of `batch` sequences.

    Parameters
    ----------
    kv_heads, head_dim, value_dim : Number
        Heads, channels of a key and of a value (None: the same) of one row.
    window : int or None
        Most rows that are kept.
    kind : {"kv", "latent", "index", "state"}
        Keys and values; rows that are both (the latents of MLA), or the keys of an index (``value_dim=0``); the fixed
        state of a scan, one row of `kv_heads` x `head_dim` however long the sequence.
    rate : int
        Tokens that one row stands for (compressed attention); `length` is then the tokens of whole rows.
    groups : KVGroups or None
        How rows that are not the newest are packed; None: all are of `format`.
    """

    layers: tuple[int, ...]
    batch: Number
    length: Number
    kv_heads: Number
    head_dim: Number
    format: str = "bf16"
    window: int | None = None
    value_dim: Number | None = None
    kind: str = "kv"
    rate: int = 1
    groups: KVGroups | None = None

    @property
    def stored(self) -> str:
        """Its format in words."""
        return self.format if self.groups is None else f"int{self.groups.bits} in groups of {self.groups.size}"

    @property
    def grows(self) -> bool:
        """Whether a longer sequence takes more of it."""
        return self.kind != "state"

    @property
    def elements_per_token(self) -> Number:
        """Elements of one row, all these layers; a row of several tokens counts for each of them in part."""
        values = self.head_dim if self.value_dim is None else self.value_dim
        row = self.kv_heads * (self.head_dim + values) * len(self.layers)
        return row if self.rate == 1 else row / self.rate


class Origin(Protocol):
    """Where a graph came from: the same model, batch and context with another number of new tokens."""

    def graph(self, tokens: Number, logit_tokens: Number) -> Graph:
        """As no recipe has changed it; latent attention is executed as in the graph that this is the origin of."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Graph(ByContent):
    """Operators and caches of one step, with the step's own coordinates.

    `tokens_per_step` is how many output tokens a decode step yields (more than one with speculation). `others` are
    tensors held in memory that no operator of this step reads, with their layers (a vision tower in a text step).
    `streams` is how many residual streams of `hidden` channels a token has (more than one with hyper-connections).
    `origin` makes the graph of another number of tokens; it is no content.
    """

    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]
    batch: Number
    tokens: Number
    context: Number
    hidden: Number
    tokens_per_step: Number = 1.0
    others: tuple[tuple[Weight, tuple[int, ...]], ...] = ()
    streams: int = 1
    origin: Origin | None = field(default=None, compare=False, repr=False)

    def weights(self) -> Iterator[tuple[Weight, tuple[int, ...]]]:
        """Every stored tensor once (tied ones too), with the layers it repeats over.

        What several operators read in some of their layers is of the first of them.
        """
        seen: dict[str, set[tuple[int, ...]]] = {}
        read = ((weight, operator.layers) for operator in self.operators for weight in operator.weights)
        for weight, layers in (*read, *self.others):
            known = seen.setdefault(weight.name, set())
            if layers in known:
                continue
            fresh = tuple(x for x in layers if not any(x in others for others in known)) if known else layers
            known.add(layers)
            if fresh or not layers:
                yield weight, fresh

    def parameters(self) -> Number:
        """Elements of all stored tensors: what ``sum(p.numel())`` of the Hugging Face module gives."""
        return sum(w.elements * (len(layers) or 1) for w, layers in self.weights())

    def weight_bytes(self) -> Number:
        """Stored bytes of all tensors, scales included."""
        return sum(w.payload_bytes * (len(layers) or 1) for w, layers in self.weights())

    def map_operators(self, change: Callable[[Operator], Operator]) -> Graph:
        """The graph with `change` applied to every operator."""
        return replace(self, operators=tuple(change(o) for o in self.operators))

    def map_weights(self, change: Callable[[Weight], Weight]) -> Graph:
        """The graph with `change` applied to every stored tensor."""
        changed = self.map_operators(lambda o: replace(o, weights=tuple(change(w) for w in o.weights)))
        return replace(changed, others=tuple((change(w), layers) for w, layers in self.others))

    def with_kv_len(self, limit: Callable[[Number], Number]) -> Graph:
        """The graph with every cache and attention holding ``limit(length)`` tokens."""

        def shorten(operator: Operator) -> Operator:
            return replace(operator, kv_len=limit(operator.kv_len)) if isinstance(operator, Attention) else operator

        caches = tuple(replace(c, length=limit(c.length)) if c.grows else c for c in self.caches)
        return replace(self.map_operators(shorten), caches=caches)
