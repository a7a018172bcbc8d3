"""What must fit: weights, caches, activations, workspace, buffers, page remainders, against the capacity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number, dtype_bytes
from dovetail.cost.packed import executed
from dovetail.cost.stationary import array_bytes
from dovetail.cost.traffic import compute_dtype, kv_element_bytes, resident_bytes
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Collective, Linear, Pointwise

PARTS = ("weights", "kv_cache", "activations", "workspace", "communication", "fragmentation", "staging")

# The token embeddings that the module's frame holds on to and the block's normed input, beside the residual streams.
BESIDE_STREAMS = 2
# Logits are sampled in fp32: a converted copy of the rows (vLLM's Sampler and transformers' generate both make one).
LOGIT_BYTES = 4
# NCCL: a 4 MiB buffer (NCCL_BUFFSIZE, its documented default) for each of 16 channels, one to send and one to receive.
COLLECTIVE_BYTES = 16 * 2 * (4 << 20)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on each chip, by what they hold; `capacity` is what the stack leaves usable.

    Parameters
    ----------
    weights : Number
        Every tensor of the module as stored, scales included.
    kv_cache : Number
        Keys and values, latents, indices and scan states of all requests at their longest.
    activations : Number
        Peak of live activations: the residual stream and the widest place of a block.
    workspace : Number
        fp32 logits for sampling.
    communication : Number
        Buffers of the collective library; 0 on one chip.
    fragmentation : Number
        Unused rest of the last page of each sequence, in every cache that grows; 0 where caches are not paged.
    staging : Number
        Room for what streams in from the host's memory; 0 where nothing does.
    host : Number
        Weights or caches that the host's memory holds instead (`dovetail.design.offload`); not in the total.
    """

    weights: Number
    kv_cache: Number
    activations: Number
    capacity: Number
    workspace: Number = 0.0
    communication: Number = 0.0
    fragmentation: Number = 0.0
    staging: Number = 0.0
    host: Number = 0.0

    @property
    def total(self) -> Number:
        return sum(getattr(self, part) for part in PARTS)

    @property
    def fits(self) -> Number:
        return self.total <= self.capacity


def cache_bytes(cache: Cache, machine: Machine) -> Number:
    """Bytes of one cache: layers x batch x length (at most the window) x elements of a row x element size."""
    if cache.groups is None:
        return cache.batch * _length(cache) * _row_bytes(cache, machine)
    values = cache.head_dim if cache.value_dim is None else cache.value_dim
    element = kv_element_bytes(cache.format, machine)
    one = cache.groups.bytes(_length(cache), cache.head_dim, values, element)
    return cache.batch * cache.kv_heads * len(cache.layers) * one


def page_bytes(cache: Cache, machine: Machine) -> Number:
    """Bytes that the last pages of a cache hold beyond its tokens."""
    page = machine.stack.page
    if not cache.grows or np.all(np.asarray(page) <= 1):
        return 0.0
    return cache.batch * (-_length(cache) % page) * _row_bytes(cache, machine)


def _length(cache: Cache) -> Number:
    return cache.length if cache.window is None else np.minimum(cache.length, cache.window)


def _row_bytes(cache: Cache, machine: Machine) -> Number:
    return cache.elements_per_token * kv_element_bytes(cache.format, machine)


def activation_bytes(graph: Graph, machine: Machine) -> Number:
    """Peak of live activations in one step: the residual streams and two more, and the widest place of a block.

    That is a product's input and output, or the tensors alive around an activation. A stack that prefills in chunks
    holds no more rows than a chunk has, but for the logits: one row of each request.
    """
    size = dtype_bytes(compute_dtype("bf16", machine))
    rows = graph.batch * graph.tokens
    held = _in_flight(rows, 1, machine)
    widest: Number = 0.0
    for operator in graph.operators:
        if isinstance(operator, Linear):
            m = operator.m if _is_head(operator) else _in_flight(operator.m, operator.m / rows, machine)
            widest = np.maximum(widest, m * (operator.k + operator.n))
        elif isinstance(operator, Pointwise) and np.any(operator.held):
            widest = np.maximum(widest, _in_flight(operator.held, operator.held / rows, machine))
    return (held * ((BESIDE_STREAMS + graph.streams) * graph.hidden) + widest) * size


def workspace_bytes(graph: Graph) -> Number:
    """fp32 logits of the rows that are sampled."""
    return sum(o.m * o.n * LOGIT_BYTES for o in graph.operators if isinstance(o, Linear) and _is_head(o))


def _is_head(operator: Linear) -> bool:
    return operator.name.partition("@")[0] == "lm_head"


def _in_flight(rows: Number, per_token: Number, machine: Machine) -> Number:
    """Rows at once, of `rows` in all: `per_token` (several with experts) for each token of a chunk."""
    chunk = np.asarray(machine.stack.chunk)
    return np.where(chunk > 0, np.minimum(rows, chunk * per_token), rows) if np.any(chunk) else rows


def memory(prefill: Graph, full: Graph, machine: Machine, before: Graph | None = None) -> Memory:
    """Memory of one chip: activations of `prefill`, caches of `full` (the last decode step), weights of either.

    `before` is a pass that has ended when the prefill starts (over images): the larger activations of the two count.
    """
    machine = executed(full, machine)
    weights = sum(resident_bytes(w, machine) * (len(layers) or 1) for w, layers in full.weights())
    capacity = machine.memory.capacity * (1.0 - machine.stack.reserve)
    if machine.stationary is not None:  # what arrays do not hold is in memory, with the rest
        capacity = capacity + array_bytes(full, machine)
    caches = sum(cache_bytes(c, machine) for c in full.caches)
    pages = sum(page_bytes(c, machine) for c in full.caches)
    linked = any(isinstance(o, Collective) for o in full.operators)
    live = activation_bytes(prefill, machine)
    if before is not None:
        live = np.maximum(live, activation_bytes(before, machine))
    return Memory(
        weights, caches, live, capacity, workspace_bytes(full),
        float(COLLECTIVE_BYTES) if linked else 0.0, pages,
    )  # fmt: skip
