"""What must fit: weights, KV cache and activations against the machine's capacity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number, dtype_bytes
from dovetail.cost.traffic import compute_dtype, kv_element_bytes, resident_bytes
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Cache, Graph, Linear


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes on each chip, by what they hold; `capacity` is what the stack leaves usable."""

    weights: Number
    kv_cache: Number
    activations: Number
    capacity: Number

    @property
    def total(self) -> Number:
        return self.weights + self.kv_cache + self.activations

    @property
    def fits(self) -> Number:
        return self.total <= self.capacity


def cache_bytes(cache: Cache, machine: Machine) -> Number:
    """Bytes of one cache: layers x batch x length (at most the window) x keys and values x element size."""
    length = cache.length if cache.window is None else np.minimum(cache.length, cache.window)
    return cache.batch * length * (cache.elements_per_token * kv_element_bytes(cache.format, machine))


def activation_bytes(graph: Graph, machine: Machine) -> Number:
    """Peak of live activations in one step: the residual stream twice, and the widest operator's input and output.

    A stack that prefills in chunks holds no more rows than a chunk has, but for the logits: one row of each request.
    """
    size = dtype_bytes(compute_dtype("bf16", machine))
    rows = graph.batch * graph.tokens
    held = _in_flight(rows, 1, machine)
    widest: Number = 0.0
    for operator in graph.operators:
        if isinstance(operator, Linear):
            logits = operator.name.partition("@")[0] == "lm_head"
            m = operator.m if logits else _in_flight(operator.m, operator.m / rows, machine)
            widest = np.maximum(widest, m * (operator.k + operator.n))
    return (held * (2 * graph.hidden) + widest) * size


def _in_flight(rows: Number, per_token: Number, machine: Machine) -> Number:
    """Rows at once, of `rows` in all: `per_token` (several with experts) for each token of a chunk."""
    chunk = np.asarray(machine.stack.chunk)
    return np.where(chunk > 0, np.minimum(rows, chunk * per_token), rows) if np.any(chunk) else rows


def memory(prefill: Graph, full: Graph, machine: Machine) -> Memory:
    """Memory of one chip: activations of `prefill`, caches of `full` (the last decode step), weights of either."""
    weights = sum(resident_bytes(w, machine) * (len(layers) or 1) for w, layers in full.weights())
    capacity = machine.memory.capacity * (1.0 - machine.stack.reserve)
    caches = sum(cache_bytes(c, machine) for c in full.caches)
    return Memory(weights, caches, activation_bytes(prefill, machine), capacity)
