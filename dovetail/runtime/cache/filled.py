"""A cache of random keys and values as a plan leaves them: what a step takes does not depend on what they are."""

from __future__ import annotations

import torch

from dovetail.runtime.cache.held import HeldCache
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policy import Held
from dovetail.runtime.decoding.llama import LlamaRunner


def filled(runner: LlamaRunner, batch: int, plan: CachePlan, length: int, seed: int = 0) -> HeldCache:
    """The cache of `batch` sequences of `length` tokens, for which no prompt was read.

    All layers and sequences hold the same, each in memory of its own.
    """
    source, heads, channels = torch.Generator().manual_seed(seed), runner.kv_heads, runner.head_dim
    like = runner.embedding
    observed, sums = (plan.policy.observed, plan.policy.sums) if plan.policy is not None else (0, False)
    keys, values = (torch.randn(heads, length, channels, generator=source).to(like) for _ in range(2))
    asked = min(observed, length), channels
    queries = torch.randn(heads, runner.heads // heads, *asked, generator=source).to(like) if observed else None
    noted = torch.rand(heads, length, generator=source).to(like.device) if sums else None
    places = torch.arange(length, dtype=torch.int32, device=like.device).expand(heads, -1) if sums else None
    whole = plan.cache(runner)
    for _ in range(batch):
        one = plan.cache(runner)
        one.begin(length, heads)
        for layer in range(len(runner.layers)):
            one.take(layer, Held(keys, values, queries, noted, places, length))
        whole.join(one)
    return whole
