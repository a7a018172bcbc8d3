"""Prefill layer by layer: a prompt goes through one layer whole, whose keys and values are then cut to what stays.

The peak is the hidden states, the keys and values of one layer, and what the layers before it kept; a prefill of all
layers chunk by chunk holds the whole cache before a policy has seen it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.runtime.cache.attention import unplanned
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
    with unplanned(runner.device):
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
    sums = x.new_zeros(heads, length, dtype=torch.float32) if plan.policy is not None and plan.policy.sums else None
    for begin in range(0, length, _CHUNK):
        part = x[begin : begin + _CHUNK]
        end = begin + len(part)
        positions = torch.arange(begin, end, device=x.device).unsqueeze(0)
        q, k, v = runner.projected(index, part.unsqueeze(0), positions, length)
        keys[:, begin:end], values[:, begin:end] = k[0], v[0]
        attended = _attended(q[0], keys[:, :end], values[:, :end], begin, sums)
        x[begin:end] = runner.finished(index, part, attended)
        if observed and end > length - observed:
            newest.append(q[0, :, max(0, length - observed - begin) :].clone())
    queries = _grouped(torch.cat(newest, 1), heads) if newest else None
    places = None if sums is None else torch.arange(length, dtype=torch.int32, device=x.device).expand(heads, -1)
    return Held(keys, values, queries, sums, places, length)


def _grouped(queries: Tensor, heads: int) -> Tensor:
    """Queries (KV heads, group, tokens, channels)."""
    return queries.reshape(heads, -1, *queries.shape[1:])


def _attended(queries: Tensor, keys: Tensor, values: Tensor, begin: int, sums: Tensor | None) -> Tensor:
    """Attention (tokens, heads * channels) of the tokens from `begin` on, to those up to each.

    Fused attention gives no weights: where their sums are asked for, it is made of its two products instead.
    """
    found = []
    for first in range(0, queries.shape[1], _QUERIES):
        part = queries[:, first : first + _QUERIES]
        end = begin + first + part.shape[1]
        mask = torch.ones(part.shape[1], end, dtype=torch.bool, device=keys.device).tril(begin + first)
        seen = keys[:, :end], values[:, :end]
        found.append(_fused(part, *seen, mask) if sums is None else _summing(part, *seen, mask, sums))
    return torch.cat(found, 1).transpose(0, 1).flatten(1)


def _fused(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    grouped = len(queries) != len(keys)
    return functional.scaled_dot_product_attention(queries[None], keys[None], values[None], mask, enable_gqa=grouped)[0]


def _summing(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, sums: Tensor) -> Tensor:
    """As `_fused`; what each token gets is added to `sums` (KV heads, tokens)."""
    group, found = len(queries) // len(keys), []
    for head in range(len(keys)):
        scores = queries[head * group : (head + 1) * group] @ keys[head].T * keys.shape[2] ** -0.5
        paid = scores.float().masked_fill_(~mask, float("-inf")).softmax(-1)
        sums[head, : paid.shape[2]] += paid.sum((0, 1))
        found.append(paid.to(values.dtype) @ values[head])
    return torch.cat(found)
