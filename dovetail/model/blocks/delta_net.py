"""Gated delta net (arXiv 2412.06464): linear attention whose state forgets by a gate and is corrected, key by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.blocks.state_space import convolution
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator, Scan
from dovetail.model.step import ACTIVATION_FLOPS, NORM_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class DeltaNetSpec(ByContent):
    """One layer's gated delta net.

    Parameters
    ----------
    scan_heads, scan_values : Number
        Value heads, each with a state of its own, and channels of a value head.
    key_heads, scan_keys : Number
        Heads of queries and of keys, each shared by several value heads, and channels of one.
    kernel : int
        Taps of the causal convolution over queries, keys and values before the scan; it has no bias.
    state_dtype : str
        Dtype in which the state is kept.
    """

    scan_heads: Number
    scan_values: Number
    key_heads: Number
    scan_keys: Number
    kernel: int = 4
    state_dtype: str = "fp32"

    @property
    def inner(self) -> Number:
        """Channels of all value heads."""
        return self.scan_heads * self.scan_values

    @property
    def keys(self) -> Number:
        """Channels of all key heads."""
        return self.key_heads * self.scan_keys

    @property
    def convolved(self) -> Number:
        """Channels that pass the convolution: queries, keys and values."""
        return 2 * self.keys + self.inner

    @property
    def state(self) -> Number:
        """Elements of one sequence's state: a matrix of key by value channels for each value head."""
        return self.inner * self.scan_keys

    def operators(self, step: Step) -> Iterator[Operator]:
        """Projections (queries, keys, values, output gate; write and decay gates), convolution, scan, norm, output."""
        hidden, rows, inner = step.arch.hidden, step.rows, self.inner
        yield step.linear("scan_in", self._inputs(step), hidden)
        yield step.linear("scan_gates", self._gates(step), hidden)
        yield convolution(step, self.convolved, self.kernel, bias=False)
        yield self._scan(step)
        norm = tuple(step.vectors("scan_norm", self.scan_values))
        flops = NORM_FLOPS["rms"] + ACTIVATION_FLOPS["silu"] + 1.0
        yield step.pointwise("scan_norm", 2 * rows * inner, rows * inner, flops, norm, split=True)
        yield step.linear("scan_out", {"scan_out": hidden}, inner, split="in")

    def caches(self, step: Step) -> Iterator[Cache]:
        """The last inputs of the convolution, by value heads and by key heads, and the state of each value head."""
        layers, batch, matrix = step.layers, step.batch, self.scan_keys * self.scan_values
        taken = ((self.scan_heads, self.scan_values), (self.key_heads, 2 * self.scan_keys))
        for heads, width in taken:
            yield Cache(layers, batch, 1, heads, width * self.kernel, step.arch.dtype, value_dim=0, kind="state")
        yield Cache(layers, batch, 1, self.scan_heads, matrix, self.state_dtype, value_dim=0, kind="state")

    def _inputs(self, step: Step) -> dict[str, Number]:
        """One tensor for all of them where the architecture names one, else the output gate by itself."""
        if "scan_qkvz" in step.arch.names:
            return {"scan_qkvz": self.convolved + self.inner}
        return {"scan_qkv": self.convolved, "scan_z": self.inner}

    def _gates(self, step: Step) -> dict[str, Number]:
        """How much each head writes (b) and keeps (a): one tensor where the architecture names one."""
        if "scan_ba" in step.arch.names:
            return {"scan_ba": 2 * self.scan_heads}
        return {"scan_b": self.scan_heads, "scan_a": self.scan_heads}

    @property
    def flops_per_token(self) -> Number:
        """``S = a S; r = S^T k; S = S + k (b (v - r))^T; o = S^T q``, the recurrence as it is defined.

        For each element of the state: decay (1), read (2), write (2), read (2). For each value channel: v - r, times
        b. For each channel of a query or key head, its own length taken to one and the query scaled: 3 each, and 1.
        Chunked kernels execute more, as matrix products. The gates of a head (sigmoid, softplus) are left out.
        """
        return 7.0 * self.state + 2.0 * self.inner + 7.0 * self.keys

    def _scan(self, step: Step) -> Scan:
        weights = tuple(w for role in ("scan_decay", "scan_step") for w in step.vectors(role, self.scan_heads))
        return Scan(
            "scan" + step.suffix, step.layers, weights, step.batch, step.tokens, self.flops_per_token, self.state,
            step.rows * (self.convolved + 2 * self.scan_heads), step.rows * self.inner, step.arch.dtype,
            self.state_dtype, self.scan_heads, self.key_heads, 2 * self.keys, 7.0 * self.keys,
        )  # fmt: skip
