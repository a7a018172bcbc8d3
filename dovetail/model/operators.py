"""Operators of a graph, and the stored tensors that they read: shapes, flops, bytes.

Shapes may be arrays of points; they broadcast. An operator that repeats over layers stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Format, Number
from dovetail.model.kv_groups import KVGroups
from dovetail.model.latents import LatentShape
from dovetail.model.visible import compressed, in_blocks, in_chunks


@dataclass(frozen=True, slots=True, eq=False)
class Weight(ByContent):
    """One stored tensor (rows: outputs, cols: inputs), or one for each layer and expert its name has room for.

    Parameters
    ----------
    name : str
        Name in the checkpoint, with ``{layer}`` and ``{expert}`` to fill in.
    rows, cols : Number
        Outputs and inputs; vectors are (1, n).
    format : Format
        How it is stored.
    experts : int
        How many experts hold one each.
    linear : bool
        Whether it is the matrix of a linear layer, which recipes may quantise; embeddings, norms and biases are not.
    """

    name: str
    rows: Number
    cols: Number
    format: Format = Format()
    experts: int = 1
    linear: bool = True

    @property
    def elements(self) -> Number:
        return self.rows * self.cols * self.experts

    @property
    def payload_bytes(self) -> Number:
        return self.format.payload_bytes(self.rows, self.cols) * self.experts

    def tensors(self, layers: tuple[int, ...]) -> Iterator[str]:
        """The names in the checkpoint, for each of `layers` (none: the name has no layer) and each expert.

        A name without ``{expert}`` holds all experts in one tensor.
        """
        for layer in layers or (0,):
            named = self.name.replace("{layer}", str(layer))
            for expert in range(self.experts if "{expert}" in named else 1):
                yield named.replace("{expert}", str(expert))


@dataclass(frozen=True, slots=True, eq=False)
class Operator(ByContent):
    """What all operators share: a name, the layers they repeat over (empty: once), and the tensors they read."""

    name: str
    layers: tuple[int, ...] = ()
    weights: tuple[Weight, ...] = ()

    @property
    def repeat(self) -> int:
        return len(self.layers) or 1


@dataclass(frozen=True, slots=True, eq=False)
class Linear(Operator):
    """``y[m, n] = x[m, k] w[n, k]^T``: `weights` stacked along n; in a mixture, `active` of the experts are touched.

    `m` counts rows of the result over all experts (``tokens * top_k`` in a mixture). `split` is how tensor parallelism
    divides it: by outputs (``out``; ``heads`` where they are the heads of attention, of which KV heads are copied when
    there are fewer than chips), by inputs (``in``: partial sums are reduced), or not (``whole``). A block-diagonal
    product (``group``) has one matrix for each group of inputs, all in one tensor: `k` and `n` are those of one group,
    `m` counts rows over all groups, and whole groups are divided.
    """

    m: Number = 1
    k: Number = 1
    n: Number = 1
    act: str = "bf16"
    experts: int = 1
    active: Number = 1  # experts read in one step, expected
    split: str = "out"
    top_k: int = 1  # experts that one token meets
    otherwise: str = ""  # dtype of activations where the machine does not compute in `act`; "": it must

    @property
    def dense_flops(self) -> Number:
        return 2.0 * self.m * self.n * self.k

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Attention(Operator):
    """Scores, softmax and the weighted sum over a KV cache.

    Parameters
    ----------
    kv_len : Number
        What the newest token sees (its own position included), before any window; `tokens` queries a sequence.
    head_dim, value_dim : Number
        Channels of a query and key head, and of a value head (None: the same).
    window : int or None
        Tokens that a query sees at most: the last ones, or with `chunked` those of its own chunk of that size.
    causal : bool
        Queries see only what is before them; otherwise all of `kv_len`.
    selected : int or None
        Keys that each query picks among those it sees (sparse attention); all are cached.
    latent : bool
        Keys and values are the same cached rows: a value is the first channels of a key.
    whole : bool
        Tensor parallelism does not divide it: every chip needs all of its result (the index of sparse attention).
    rate : int
        Tokens that one key stands for (compressed attention): a query sees the keys whose tokens are all before it or
        itself. `kv_len` counts tokens; everything else counts keys.
    block : int
        Keys are picked by blocks of that many, the query's own block among them; `selected` is a multiple of it.
    latents : LatentShape or None
        Of multi-head latent attention, whichever way it is executed; None for any other.
    groups : KVGroups or None
        How cached tokens that are not the newest are packed; None: all are `kv_format`.
    """

    batch: Number = 1
    tokens: Number = 1
    kv_len: Number = 1
    heads: Number = 1
    kv_heads: Number = 1
    head_dim: Number = 1
    window: int | None = None
    act: str = "bf16"
    kv_format: str = "bf16"
    value_dim: Number | None = None
    causal: bool = True
    chunked: bool = False
    selected: int | None = None
    latent: bool = False
    whole: bool = False
    rate: int = 1
    block: int = 1
    latents: LatentShape | None = None
    groups: KVGroups | None = None

    @property
    def values(self) -> Number:
        """Channels of a value head."""
        return self.head_dim if self.value_dim is None else self.value_dim

    @property
    def span(self) -> Number:
        """Keys that at least one query sees; a sliding window trims what is cached to them."""
        if self.window is None:
            return self.kv_len if self.rate == 1 else self.kv_len // self.rate
        if self.chunked:
            return np.minimum(self.kv_len, (self.kv_len - self.tokens) % self.window + self.tokens)
        return np.minimum(self.kv_len, self.tokens + (self.window - 1))

    @property
    def cached_channels(self) -> Number:
        """Elements read from the cache for one key of one KV head."""
        return self.head_dim if self.latent else self.head_dim + self.values

    @property
    def dense_flops(self) -> Number:
        """Full rectangular scores, as a FLOP counter of eager attention sees them."""
        return self._flops(self.span)

    @property
    def visible(self) -> Number:
        """Mean number of keys a query really uses: causal, within the window, selected.

        Each query sees one key more, from `first` on, until its view is `widest`. A recipe may have cut `kv_len` below
        `tokens`: then no query sees more than `kv_len`.
        """
        if not self.causal:
            return self.kv_len if self.window is None else np.minimum(self.kv_len, self.window)
        first = np.maximum(self.kv_len, self.tokens) - self.tokens + 1
        if self.chunked and self.window is not None:
            return (in_chunks(first + self.tokens - 1, self.window) - in_chunks(first - 1, self.window)) / self.tokens
        if self.rate > 1:
            widest = self.span if self.selected is None else np.minimum(self.span, self.selected)
            last = first + self.tokens - 1
            return (compressed(last, self.rate, widest) - compressed(first - 1, self.rate, widest)) / self.tokens
        if self.block > 1 and self.selected is not None:
            seen = (in_blocks(first + n, self.block, self.selected, self.kv_len) for n in (self.tokens - 1, -1))
            return (next(seen) - next(seen)) / self.tokens
        bounds = [b for b in (self.window, self.selected) if b is not None]
        widest = np.minimum(self.kv_len, min(bounds)) if bounds else self.kv_len
        growing = np.maximum(widest - first + 1, 0)
        return widest - growing * (widest - first) / (2.0 * self.tokens)

    @property
    def executed_flops(self) -> Number:
        return self._flops(self.visible)

    def _flops(self, keys: Number) -> Number:
        """Scores and weighted sum over `keys` a query: a multiply and an add per channel each."""
        return 2.0 * self.batch * self.heads * self.tokens * keys * (self.head_dim + self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Scan(Operator):
    """A recurrence over time with a state of fixed size for each sequence (state-space models, linear attention).

    Parameters
    ----------
    flops_per_token : Number
        Of the recurrence as it is defined, for one token of one sequence.
    state : Number
        Elements of one sequence's state, read and written once a step; `format` is their dtype.
    read, written : Number
        Elements of activations, all tokens.
    heads, groups : Number
        Heads, each with a state of its own, and groups of heads that share inputs (B and C, queries and keys).
    grouped, grouped_flops : Number
        Channels of those shared inputs, all groups; FLOPs of a token that are done once for a group.
    """

    batch: Number = 1
    tokens: Number = 1
    flops_per_token: Number = 0.0
    state: Number = 0
    read: Number = 0
    written: Number = 0
    act: str = "bf16"
    format: str = "fp32"
    heads: Number = 1
    groups: Number = 1
    grouped: Number = 0
    grouped_flops: Number = 0.0

    @property
    def dense_flops(self) -> Number:
        return self.batch * self.tokens * self.flops_per_token

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise(Operator):
    """Norms, rotary, activations, residuals, softmax, gathers: `read` + `written` elements of `act`, few FLOPs each.

    `split`: tensor parallelism divides it (it works on heads or on inner channels, not on the residual stream).
    `held`: elements alive at once while it runs, where that may be the most of its block; 0 elsewhere.
    """

    read: Number = 0
    written: Number = 0
    flops_per_element: float = 1.0
    act: str = "bf16"
    split: bool = False
    held: Number = 0

    @property
    def dense_flops(self) -> Number:
        return self.written * self.flops_per_element

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Collective(Operator):
    """What `ways` chips exchange: `elements` of `act`; arithmetic is not counted.

    Parameters
    ----------
    elements : Number
        What a chip holds before a reduction, after a gathering, or exchanges in all.
    kind : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast", "p2p"}
        Which collective, in the names of NCCL.
    """

    elements: Number = 0
    ways: int = 1
    act: str = "bf16"
    kind: str = "all_reduce"

    @property
    def dense_flops(self) -> Number:
        return 0.0 * self.elements

    executed_flops = dense_flops
