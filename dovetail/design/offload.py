"""Offload: what a chip has no room for stays in its host's memory and streams in, layer by layer, once a step.

Only the excess moves. What is being read and what is next take two layers' room on the chip. Weights stay on the host
for good; of a cache the chip's room fills first, so that a step moves what lies beyond it at that step's length. A
prefill writes that once. Weights of experts move as far as a step reads them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost import Memory
from dovetail.cost.memory import cache_bytes
from dovetail.cost.traffic import resident_bytes, traffic
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Linear

KINDS = ("weights", "kv")
_LAYERS = 2  # on the chip at once: the one that runs and the next


def kept(held: Memory, last: Graph, machine: Machine, offload: str) -> Memory:
    """Memory with what does not fit moved to the host, as far as it may move; as it is where all fits."""
    layers = per_layer(last, machine, offload)
    movable = sum(layers.values(), 0.0)
    room: Number = 0.0
    for size in layers.values():
        room = np.maximum(room, _LAYERS * size)
    excess = held.total - held.capacity
    host = np.where(excess > 0, np.minimum(np.maximum(excess + room, 0.0), movable), 0.0)[()]
    part = "weights" if offload == "weights" else "kv_cache"
    left = {part: getattr(held, part) - host, "staging": np.where(host > 0, room, 0.0)[()]}
    return replace(held, **left, host=host)


def per_layer(graph: Graph, machine: Machine, offload: str) -> dict[int, Number]:
    """Bytes of each layer's weights, or of its caches."""
    found: dict[int, Number] = {}
    for layer, size in _weights(graph, machine) if offload == "weights" else _caches(graph, machine):
        found[layer] = found.get(layer, 0.0) + size
    return found


def _weights(graph: Graph, machine: Machine) -> Iterator[tuple[int, Number]]:
    for weight, layers in graph.weights():
        for layer in layers:
            yield layer, resident_bytes(weight, machine)


def _caches(graph: Graph, machine: Machine) -> Iterator[tuple[int, Number]]:
    for cache in graph.caches:
        for layer in cache.layers:
            yield layer, cache_bytes(cache, machine) / len(cache.layers)


def streaming(step: Graph, last: Graph, held: Memory, machine: Machine, offload: str) -> Graph:
    """The step with its transfers; `held` is what `kept` gave, of the design's longest step `last`."""
    if not np.any(held.host):
        return step
    size = _read(step, machine) * held.host if offload == "weights" else _beyond(step, last, held, machine)
    layers = tuple(sorted(per_layer(step, machine, offload)))
    return replace(step, operators=(*step.operators, HostTransfer(f"offload_{offload}", layers, (), size)))


def _read(step: Graph, machine: Machine) -> Number:
    """Share of the layers' weights that a step reads: less than all where it meets some experts only."""
    whole = sum((size for _, size in _weights(step, machine)), 0.0)
    linear = [o for o in step.operators if isinstance(o, Linear) and o.layers]
    unread = sum(
        (
            (sum(resident_bytes(w, machine) for w in o.weights) - traffic(o, machine).streamed) * o.repeat
            for o in linear
        ),
        0.0,
    )
    return 1.0 - unread / whole


def _beyond(step: Graph, last: Graph, held: Memory, machine: Machine) -> Number:
    """Bytes of the step's caches that the chip has no room for."""
    room = sum(per_layer(last, machine, "kv").values(), 0.0) - held.host
    return np.maximum(sum(per_layer(step, machine, "kv").values(), 0.0) - room, 0.0)
