"""A draft whose output has another number of rows than its model's: padding, of the same tokens."""

from __future__ import annotations

from collections.abc import Sized
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.runtime.decoding.cache import KVCache
from dovetail.runtime.decoding.runner import Runner


@dataclass(slots=True, weakref_slot=True, eq=False)
class PaddedRunner:
    """A runner that speaks of `vocabulary` tokens, and knows `own` of them: it holds the others impossible.

    Rows beyond a tokenizer's tokens make the products of a model even; within a family their number differs.
    """

    runner: Runner
    own: int
    vocabulary: int

    @property
    def layers(self) -> Sized:
        return self.runner.layers

    @property
    def device(self) -> torch.device:
        return self.runner.device

    def forward(
        self, ids: Tensor, cache: KVCache, positions: Tensor | None = None, visible: Tensor | None = None
    ) -> Tensor:
        """As the runner's; a token that it has no row for, which is none of the tokenizer, is read as its last."""
        return self.runner.forward(ids.clamp(max=self.own - 1), cache, positions, visible)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores (…, vocabulary)."""
        found = self.runner.logits(hidden)[..., : self.vocabulary]
        return functional.pad(found, (0, self.vocabulary - found.shape[-1]), value=float("-inf"))
