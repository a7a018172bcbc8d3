"""The operator graph of one forward pass: what is multiplied, attended and moved, with shapes as arrays.

A graph describes `tokens` new tokens for each of `batch` sequences that already hold `context` tokens: prefill is
``context=0``, decode is ``tokens=1``, a chunk of prefill is both. Shapes may be arrays of points; they broadcast.
Operators that repeat over layers appear once, with the layers they stand for, so cost is per kind and not per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Format, Number


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
        """The names in the checkpoint, for each of `layers` (none: the name has no layer) and each expert."""
        for layer in layers or (0,):
            named = self.name.replace("{layer}", str(layer))
            for expert in range(self.experts):
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

    `m` counts rows of the result over all experts (``tokens * top_k`` in a mixture).
    """

    m: Number = 1
    k: Number = 1
    n: Number = 1
    act: str = "bf16"
    experts: int = 1
    active: Number = 1  # experts read in one step, expected

    @property
    def dense_flops(self) -> Number:
        return 2.0 * self.m * self.n * self.k

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Attention(Operator):
    """Scores, softmax and the weighted sum over a KV cache.

    `kv_len` is what the newest token sees (its own position included), before any window; `tokens` queries a sequence,
    causal among themselves.
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

    @property
    def dense_flops(self) -> Number:
        """Full rectangular scores, as a FLOP counter of eager attention sees them; a window trims what is cached."""
        keys = self.kv_len if self.window is None else np.minimum(self.kv_len, self.tokens + (self.window - 1))
        return 4.0 * self.batch * self.heads * self.head_dim * self.tokens * keys

    @property
    def visible(self) -> Number:
        """Mean number of keys a query really sees: causal, within the window.

        Each query sees one key more, from `first` on, until its view is `widest`. A recipe may have cut `kv_len` below
        `tokens`: then no query sees more than `kv_len`.
        """
        widest = self.kv_len if self.window is None else np.minimum(self.kv_len, self.window)
        first = np.maximum(self.kv_len, self.tokens) - self.tokens + 1
        growing = np.maximum(widest - first + 1, 0)
        return widest - growing * (widest - first) / (2.0 * self.tokens)

    @property
    def executed_flops(self) -> Number:
        return 4.0 * self.batch * self.heads * self.head_dim * self.tokens * self.visible


@dataclass(frozen=True, slots=True, eq=False)
class Pointwise(Operator):
    """Norms, rotary, activations, residuals, softmax, gathers: `read` + `written` elements of `act`, few FLOPs each."""

    read: Number = 0
    written: Number = 0
    flops_per_element: float = 1.0
    act: str = "bf16"

    @property
    def dense_flops(self) -> Number:
        return self.written * self.flops_per_element

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Collective(Operator):
    """An all-reduce of `elements` of `act` among `ways` chips; its arithmetic is not counted."""

    elements: Number = 0
    ways: int = 1
    act: str = "bf16"

    @property
    def dense_flops(self) -> Number:
        return 0.0 * self.elements

    executed_flops = dense_flops


@dataclass(frozen=True, slots=True, eq=False)
class Cache(ByContent):
    """The KV cache of some layers: `length` tokens for each of `batch` sequences, keys and values."""

    layers: tuple[int, ...]
    batch: Number
    length: Number
    kv_heads: Number
    head_dim: Number
    format: str = "bf16"
    window: int | None = None

    @property
    def elements_per_token(self) -> Number:
        """Keys and values of one token, all these layers."""
        return 2 * self.kv_heads * self.head_dim * len(self.layers)


@dataclass(frozen=True, slots=True, eq=False)
class Graph(ByContent):
    """Operators and caches of one step, with the step's own coordinates.

    `tokens_per_step` is how many output tokens a decode step yields (more than one with speculation).
    """

    operators: tuple[Operator, ...]
    caches: tuple[Cache, ...]
    batch: Number
    tokens: Number
    context: Number
    hidden: Number
    tokens_per_step: Number = 1.0

    def weights(self) -> Iterator[tuple[Weight, tuple[int, ...]]]:
        """Every stored tensor once (tied ones too), with the layers it repeats over."""
        seen: set[tuple[str, tuple[int, ...]]] = set()
        for operator in self.operators:
            for weight in operator.weights:
                key = (weight.name, operator.layers)
                if key not in seen:
                    seen.add(key)
                    yield weight, operator.layers

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
        return self.map_operators(lambda o: replace(o, weights=tuple(change(w) for w in o.weights)))

    def with_kv_len(self, limit: Callable[[Number], Number]) -> Graph:
        """The graph with every cache and attention holding ``limit(length)`` tokens."""

        def shorten(operator: Operator) -> Operator:
            return replace(operator, kv_len=limit(operator.kv_len)) if isinstance(operator, Attention) else operator

        caches = tuple(replace(c, length=limit(c.length)) for c in self.caches)
        return replace(self.map_operators(shorten), caches=caches)
