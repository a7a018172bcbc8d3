"""Mamba 2 (state-space duality, arXiv 2405.21060): a recurrence over time whose state does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator, Scan, Weight
from dovetail.model.step import ACTIVATION_FLOPS, NORM_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class StateSpaceSpec(ByContent):
    """One layer's selective state space.

    Parameters
    ----------
    scan_heads, channels, state : Number
        Heads, channels of a head (P), and states of a channel (N).
    groups : Number
        Groups of heads that share their input and output projections B and C.
    kernel : int
        Taps of the causal convolution before the scan. `conv_bias`: whether it has a bias.
    bias : bool
        Of the projections in and out.
    state_dtype : str
        Dtype in which the state is kept.
    """

    scan_heads: Number
    channels: Number
    state: Number
    groups: Number
    kernel: int = 4
    bias: bool = False
    conv_bias: bool = True
    state_dtype: str = "fp32"

    @property
    def inner(self) -> Number:
        """Channels of all heads."""
        return self.scan_heads * self.channels

    @property
    def convolved(self) -> Number:
        """Channels that pass the convolution: the inputs, B and C."""
        return self.inner + 2 * self.groups * self.state

    def operators(self, step: Step) -> Iterator[Operator]:
        """Projection (gate, inputs, B, C, time steps), convolution, scan, gated norm, projection out."""
        hidden, rows, inner = step.arch.hidden, step.rows, self.inner
        wide = inner + self.convolved + self.scan_heads
        yield step.linear("scan_in", {"scan_in": wide}, hidden, bias=self.bias)
        yield convolution(step, self.convolved, self.kernel, bias=self.conv_bias)
        yield self._scan(step)
        norm = tuple(step.vectors("scan_norm", inner))
        flops = NORM_FLOPS["rms"] + ACTIVATION_FLOPS["silu"] + 1.0
        yield step.pointwise("scan_norm", 2 * rows * inner, rows * inner, flops, norm, split=True)
        yield step.linear("scan_out", {"scan_out": hidden}, inner, bias=self.bias, split="in")

    def caches(self, step: Step) -> Iterator[Cache]:
        """The last inputs of the convolution, by heads and by groups, and the state: P x N for each head."""
        layers, batch, dtype = step.layers, step.batch, step.arch.dtype
        taken = ((self.scan_heads, self.channels), (self.groups, 2 * self.state))
        for heads, width in taken:
            yield Cache(layers, batch, 1, heads, width * self.kernel, dtype, value_dim=0, kind="state")
        matrix = self.channels * self.state
        yield Cache(layers, batch, 1, self.scan_heads, matrix, self.state_dtype, value_dim=0, kind="state")

    def _scan(self, step: Step) -> Scan:
        """For each channel and state: decay, x B, add, C h, add to an output that starts from D x; dt x and D x once.

        That is the recurrence as it is defined, ``h = exp(dt A) h + dt x B; y = C h + D x``, but for one exponential a
        head; chunked kernels execute more, as matrix products.
        """
        per_token = self.inner * (5.0 * self.state + 2.0)
        weights = tuple(
            w for role in ("scan_decay", "scan_skip", "scan_step") for w in step.vectors(role, self.scan_heads)
        )
        return Scan(
            "scan" + step.suffix, step.layers, weights, step.batch, step.tokens, per_token, self.inner * self.state,
            step.rows * (self.convolved + self.scan_heads), step.rows * self.inner, step.arch.dtype, self.state_dtype,
            self.scan_heads, self.groups, 2 * self.groups * self.state,
        )  # fmt: skip


def convolution(step: Step, channels: Number, kernel: int, *, bias: bool) -> Operator:
    """The causal convolution before a scan, each channel by itself, and its SiLU."""
    names = step.arch.names["scan_conv"]
    taps = Weight(names[0], channels, kernel, step.format, linear=False)
    biases = (Weight(names[1], 1, channels, step.format, linear=False),) if bias else ()
    elements, flops = step.rows * channels, 2.0 * kernel + ACTIVATION_FLOPS["silu"]
    return step.pointwise("scan_conv", elements, elements, flops, (taps, *biases), split=True)
