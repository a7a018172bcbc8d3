"""Measured attention calls of one dtype: their shapes, times, and what the model and a plain roofline say of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError
from dovetail.cost.attention import AttentionCost, attention_cost, moved
from dovetail.design.calls.table import Array
from dovetail.hardware.kernels import AttentionConstants, AttentionKernel, ChipFacts
from dovetail.model.operators import Attention

Flags = npt.NDArray[np.bool_]
LIMITS = dict.fromkeys(("compute", "memory", "resident", "append"), (0.0, 1.0))
LEAST = 2  # shapes of heads to fit on: each comes with many batches and contexts
PULL = 0.005  # mean |log error| that a constant pays for being e times its typical value
EVERY = float(1 << 40)  # a window that cuts nothing
WIDEST = 256  # channels of a head; wider ones have another kernel
_COLUMNS = ("time_s", "power_w", "rows")
_SHAPES = ("batch", "tokens", "kv_len", "heads", "kv_heads", "head_dim", "window")


@dataclass(frozen=True, slots=True, eq=False)
class Attended:
    """Calls of one layer's attention, one a row; seconds, and watts (NaN where not measured).

    Parameters
    ----------
    attention : Attention
        Shapes, arrays of the calls.
    kernel : AttentionKernel
        How the calls are cut.
    width : float
        Bytes of an element of queries and of the cache.
    appends : bool or None
        A call also writes the cache; None where the table does not say.
    """

    attention: Attention
    kernel: AttentionKernel
    width: float
    appends: bool | None
    time_s: Array
    power_w: Array
    chip: ChipFacts
    rows: npt.NDArray[np.str_]

    def of(self, keep: Flags) -> Self:
        """Some of the calls."""
        shapes = replace(self.attention, **{name: getattr(self.attention, name)[keep] for name in _SHAPES})
        columns = {name: getattr(self, name)[keep] for name in _COLUMNS}
        return replace(self, attention=shapes, **columns)

    @property
    def shapes(self) -> list[str]:
        """``heads,kv_heads`` of each call: what the split goes by."""
        pairs = zip(np.asarray(self.attention.heads).tolist(), np.asarray(self.attention.kv_heads).tolist())
        return [f"{heads:.0f},{kv_heads:.0f}" for heads, kv_heads in pairs]

    @property
    def flops(self) -> Array:
        """Operations of each call, as executed."""
        return np.asarray(self.attention.executed_flops)

    @property
    def bytes(self) -> Array:
        """Bytes that attention itself moves, each once."""
        data = moved(self.attention, self.width, self.width)
        return np.asarray(data.cached + data.activations)

    @property
    def prefill(self) -> Flags:
        """Calls of several tokens a sequence."""
        return np.asarray(self.attention.tokens) > 1

    @property
    def groups(self) -> list[Flags]:
        """Prefill and decode, as far as there are calls: they weigh the same in the fit."""
        return [group for group in (self.prefill, ~self.prefill) if group.any()]

    def cost(self, constants: AttentionConstants) -> AttentionCost:
        """What the model says of these calls, each repeated by itself."""
        return attention_cost(
            self.attention, self.chip, self.kernel, constants,
            q_bytes=self.width, kv_bytes=self.width, appends=self.appends is not False, stays=True,
        )  # fmt: skip

    def free(self, constants: AttentionConstants) -> list[str]:
        """The constants that these calls tell something about."""
        return [
            field.name for field in fields(constants)
            if field.name != "spread" and 0 < getattr(constants, field.name) < np.inf
            and (self.appends is not False or not field.name.startswith("append"))
            and (self.kernel.sequences or field.name != "sequence_s")
        ]  # fmt: skip

    def with_more(self, others: Sequence[Self]) -> Self:
        """These calls and others of the same dtype. Raises `DovetailError` where only some of them write the cache."""
        every = (self, *others)
        if len({one.appends for one in every}) > 1:
            raise DovetailError(
                "only some calls write the cache", where="appends", hint="one table of each, one by one"
            )
        joined: dict[str, Any] = {c: np.concatenate([getattr(one, c) for one in every]) for c in _COLUMNS}
        shapes: dict[str, Any] = {s: np.concatenate([getattr(one.attention, s) for one in every]) for s in _SHAPES}
        return replace(self, attention=replace(self.attention, **shapes), **joined)

    def describe(self, index: int) -> str:
        """One call, for a reader."""
        a = self.attention
        batch, tokens, kv_len, heads = (np.asarray(x)[index] for x in (a.batch, a.tokens, a.kv_len, a.heads))
        return f"batch {batch:.0f}, {tokens:.0f} tokens of {kv_len:.0f}, {heads:.0f} heads"
