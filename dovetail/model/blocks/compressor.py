"""A compressor (DeepSeek-V4): several tokens become one cached key, which is its own value, by a learned pooling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.model.graph import Cache
from dovetail.model.operators import Operator
from dovetail.model.step import NORM_FLOPS, ROTARY_FLOPS, SOFTMAX_FLOPS, Step


@dataclass(frozen=True, slots=True, eq=False)
class CompressorSpec(ByContent):
    """Every `rate` tokens become one entry: a sum of their vectors, weighted channel by channel by a softmax over them.

    Vectors and weights are two projections of the stream; a bias for each place in the window is added to the weights,
    and the entry is normalised and turned to the position of its window. Roles, after a prefix: ``_kv, _gate, _bias,
    _norm``. Published checkpoints keep the projections in 16 bits, and tensor parallelism copies all of it.

    Parameters
    ----------
    rate : int
        Tokens of one entry.
    width : Number
        Channels of an entry.
    overlap : bool
        An entry pools its own window and the one before, each through projections of its own: both are twice as wide.
    """

    rate: int
    width: Number
    overlap: bool = False

    @property
    def pooled(self) -> int:
        """Tokens that one entry is made of."""
        return self.rate * (1 + self.overlap)

    @property
    def wide(self) -> Number:
        """Channels of each projection."""
        return self.width * (1 + self.overlap)

    def operators(self, step: Step, prefix: str, rope: Number) -> Iterator[Operator]:
        """Both projections of all tokens; then, for windows that end in this step, bias, softmax, sum, norm, rotary."""
        parts = {f"{prefix}_kv": self.wide, f"{prefix}_gate": self.wide}
        yield step.linear(prefix, parts, step.arch.hidden, quantisable=False, split="whole")
        entries = step.batch * (step.kv_len // self.rate - step.context // self.rate)
        weights = (
            *step.weights(f"{prefix}_bias", self.rate, self.wide, linear=False),
            *step.vectors(f"{prefix}_norm", self.width),
        )
        flops = self.pooled * (SOFTMAX_FLOPS + 3.0) + NORM_FLOPS["rms"] + ROTARY_FLOPS * rope / self.width
        yield step.pointwise(f"{prefix}_pool", 2 * step.rows * self.wide, entries * self.width, flops, weights)

    def caches(self, step: Step, kind: str) -> Iterator[Cache]:
        """The entries so far, and in fp32 the projections of the tokens that the next entry is made of.

        The state has room for `pooled` tokens, as DeepSeek's reference code and vLLM hold it. `transformers` keeps
        less, in the dtype of the model: tokens of the open window only, and half the channels of the window before.
        """
        whole = step.kv_len // self.rate * self.rate
        yield Cache(
            step.layers, step.batch, whole, 1, self.width, step.kv_dtype, value_dim=0, kind=kind, rate=self.rate
        )
        yield Cache(step.layers, step.batch, 1, 1, self.pooled * 2 * self.wide, "fp32", value_dim=0, kind="state")
