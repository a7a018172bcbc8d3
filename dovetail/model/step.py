"""One step as its blocks see it: the layers they stand for, how many tokens, and how operators are made.

Letters: B sequences, T new tokens of each, D hidden channels; ``rows = B T``. Shapes may be arrays and broadcast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dovetail.core.formats import Format, Number
from dovetail.model.operators import Linear, Pointwise, Weight

if TYPE_CHECKING:
    from dovetail.model.architecture import Architecture

# FLOPs per element written, counted in the definitions: x rsqrt(mean x²) w, (x − mean) rsqrt(var) w + b, x cos + y sin
NORM_FLOPS = {"rms": 4.0, "layer": 7.0}
ROTARY_FLOPS = 3.0
SOFTMAX_FLOPS = 5.0
ACTIVATION_FLOPS = {"relu": 1.0, "relu2": 2.0, "silu": 4.0}
GELU_FLOPS = 8.0  # of the tanh form, and of any activation not named above


@dataclass(frozen=True, slots=True)
class Step:
    """What the operators of one kind of layer share.

    Parameters
    ----------
    arch : Architecture
        Names of tensors, hidden size, dtype.
    layers : tuple of int
        The layers that the operators stand for; empty for what is done once.
    suffix : str
        What tells this kind of layer from others in operators' names (``@0``).
    format : Format
        How weights are stored.
    batch, tokens, context : Number
        B sequences, T new tokens of each, after `context` cached ones.
    kv_dtype : str
        Dtype of the cache.
    absorb : bool
        Whether latent attention works on the cached latents (as engines decode) or expands them first.
    """

    arch: Architecture
    layers: tuple[int, ...]
    suffix: str
    format: Format
    batch: Number
    tokens: Number
    context: Number
    kv_dtype: str
    absorb: bool

    @property
    def rows(self) -> Number:
        """Tokens of all sequences, B T."""
        return self.batch * self.tokens

    @property
    def flow(self) -> Number:
        """Elements of the residual stream, B T D."""
        return self.rows * self.arch.hidden

    @property
    def kv_len(self) -> Number:
        """Tokens of a sequence, new ones included."""
        return self.context + self.tokens

    def weights(self, role: str, rows: Number, cols: Number, *, bias: bool = False, **rest: Any) -> Iterator[Weight]:
        """The matrix of a role, and its bias."""
        names = self.arch.names[role]
        yield Weight(names[0], rows, cols, self.format, **rest)
        if bias:
            yield Weight(names[1], 1, rows, self.format, rest.get("experts", 1), linear=False)

    def vectors(self, role: str, width: Number) -> Iterator[Weight]:
        """The vectors of a role (a norm's weight and bias), each of `width`; none where the model has no such role."""
        for name in self.arch.names.get(role, ()):
            yield Weight(name, 1, width, self.format, linear=False)

    def linear(
        self, name: str, parts: dict[str, Number], k: Number, *, m: Number = None, bias: bool = False,
        experts: int = 1, active: Number = 1, top_k: int = 1, quantisable: bool = True, split: str = "out",
    ) -> Linear:  # fmt: skip
        """One product with the matrices of `parts` (role to outputs) stacked; `split` as in `Linear`."""
        stacked = tuple(
            weight for role, rows in parts.items()
            for weight in self.weights(role, rows, k, bias=bias, experts=experts, linear=quantisable)
        )  # fmt: skip
        n = sum(parts.values())
        m = self.rows if m is None else m
        return Linear(name + self.suffix, self.layers, stacked, m, k, n, self.arch.dtype, experts, active, split, top_k)

    def pointwise(
        self, name: str, read: Number, written: Number, flops: float, weights: tuple[Weight, ...] = (),
        *, split: bool = False,
    ) -> Pointwise:  # fmt: skip
        """Elementwise work; `split` says that tensor parallelism divides it."""
        return Pointwise(name + self.suffix, self.layers, weights, read, written, flops, self.arch.dtype, split)

    def norm(self, name: str, role: str) -> Iterator[Pointwise]:
        """The norm of a role over the residual stream; nothing where the model has no such role."""
        if role in self.arch.names:
            vectors = tuple(self.vectors(role, self.arch.hidden))
            yield self.pointwise(name, self.flow, self.flow, NORM_FLOPS[self.arch.norm], vectors)

    def scale(self, name: str, role: str) -> Iterator[Pointwise]:
        """The residual stream times a learned vector; nothing where the model has no such role."""
        if role in self.arch.names:
            yield self.pointwise(name, self.flow, self.flow, 1.0, tuple(self.vectors(role, self.arch.hidden)))

    def residual(self, name: str, streams: int = 1) -> Pointwise:
        """The sum of the residual stream and the outputs of `streams` blocks."""
        return self.pointwise(name, (1 + streams) * self.flow, self.flow, float(streams))
