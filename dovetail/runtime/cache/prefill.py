"""Prefill layer by layer: a prompt goes through one layer whole, whose keys and values are then cut to what stays.

The peak is the hidden states, the keys and values of one layer, and what the layers before it kept; a prefill of all
layers chunk by chunk holds the whole cache before a policy has seen it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.runtime.cache.held import HeldCache
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.cache.policy import Held

if TYPE_CHECKING:
    from dovetail.runtime.decoding.llama import LlamaRunner

_CHUNK = 512  # tokens of a product
_QUERIES = 64  # of one attention: bounds its masks and scores


def prefilled(runner: LlamaRunner, ids: Tensor, plan: CachePlan) -> tuple[HeldCache, Tensor]:
    """The cache of a prompt and its hidden states, normed.

    Parameters
    ----------
    ids : Tensor (tokens,)

    Returns
    -------
    cache : HeldCache
        Of one sequence.
    states : Tensor (tokens, hidden)
    """
    cache, length = HeldCache(len(runner.layers), plan, runner.device), len(ids)
    cache.begin(length, runner.kv_heads)
    x = runner.embedding[ids]
    for index in range(len(runner.layers)):
        cache.take(index, _through(runner, index, x, plan))
    for begin in range(0, length, _CHUNK):
        x[begin : begin + _CHUNK] = runner.normed(x[begin : begin + _CHUNK])
    return cache, x


def _through(runner: LlamaRunner, index: int, x: Tensor, plan: CachePlan) -> Held:
    """Hidden states (tokens, hidden) taken through one layer, in place; what it made."""
    length, heads, channels = len(x), runner.kv_heads, runner.head_dim
    observed = 0 if plan.policy is None else plan.policy.observed
    keys, values = (x.new_empty(heads, length, channels) for _ in range(2))
    newest: list[Tensor] = []
    for begin in range(0, length, _CHUNK):
        part = x[begin : begin + _CHUNK]
        end = begin + len(part)
        positions = torch.arange(begin, end, device=x.device).unsqueeze(0)
        q, k, v = runner.projected(index, part.unsqueeze(0), positions, length)
        keys[:, begin:end], values[:, begin:end] = k[0], v[0]
        x[begin:end] = runner.finished(index, part, _causal(q[0], keys[:, :end], values[:, :end], begin))
        if observed and end > length - observed:
            newest.append(q[0, :, max(0, length - observed - begin) :].clone())
    queries = torch.cat(newest, 1).unflatten(0, (heads, -1)) if newest else None
    return Held(keys, values, queries, None, None, length)


def _causal(queries: Tensor, keys: Tensor, values: Tensor, begin: int) -> Tensor:
    """Attention (tokens, heads * channels) of the tokens from `begin` on, to those up to each."""
    found = []
    for first in range(0, queries.shape[1], _QUERIES):
        part = queries[:, first : first + _QUERIES]
        end = begin + first + part.shape[1]
        mask = torch.ones(part.shape[1], end, dtype=torch.bool, device=keys.device).tril(begin + first)
        found.append(
            functional.scaled_dot_product_attention(
                part.unsqueeze(0), keys[None, :, :end], values[None, :, :end], mask, enable_gqa=len(part) != len(keys)
            )[0]
        )
    return torch.cat(found, 1).transpose(0, 1).flatten(1)
