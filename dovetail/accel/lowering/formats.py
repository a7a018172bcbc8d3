"""Fraction bits of every tensor, from what calibration saw."""

from __future__ import annotations

import math

from dovetail.accel import graph as g
from dovetail.accel.arithmetic.rounding import BYTE, HALF, WORD
from dovetail.accel.arithmetic.softmax import OUTPUT_BITS
from dovetail.accel.golden.program import Format
from dovetail.accel.lowering.calibrate import Observed
from dovetail.accel.lowering.equalise import cache_fraction

ROOM_HALF, ROOM_WORD = 2.0, 4.0  # times what was seen fits before a tensor saturates


def fitting(top: float, bits: int, room: float) -> int:
    """Most fraction bits with which `room` times `top` fits into signed `bits`."""
    return math.floor(math.log2(((1 << (bits - 1)) - 1) / (top * room)))


def formats(graph: g.Graph, observed: Observed) -> dict[str, Format]:
    """The format of each tensor of the graph."""
    found = (
        {graph.source: Format(HALF, fitting(observed.top(graph.source), HALF, 1.0))} if graph.source_channels else {}
    )
    stream = _stream(graph, observed)
    last = graph.nodes[-1].name
    for node in graph.nodes:
        if node.name in stream:
            found[node.name] = Format(WORD, stream[node.name])
        elif node.name == last:
            found[node.name] = Format(WORD, fitting(observed.top(last), WORD, ROOM_WORD))
        else:
            found[node.name] = _format(node, found, observed)
    return found | _caches(graph, observed)


def _stream(graph: g.Graph, observed: Observed) -> dict[str, int]:
    """The residual stream: one format from the embedding to the last norm, for all that is ever added to it."""
    names = [n.name for n in graph.nodes if isinstance(n, g.Embedding | g.Positions | g.Add)]
    names += [name for node in graph.of(g.Add) for name in node.inputs]
    fraction = min((fitting(observed.top(name), WORD, ROOM_WORD) for name in names), default=0)
    return dict.fromkeys(names, fraction)


def _format(node: g.Node, found: dict[str, Format], observed: Observed) -> Format:
    if isinstance(node, g.Activation | g.Rotary | g.Pool):
        return found[node.inputs[0]]
    if isinstance(node, g.Multiply):
        both = sum(found[name].fraction for name in node.inputs)
        return Format(WORD, min(both, fitting(observed.top(node.name), WORD, ROOM_WORD)))
    return Format(HALF, fitting(observed.top(node.name), HALF, ROOM_HALF))


def _caches(graph: g.Graph, observed: Observed) -> dict[str, Format]:
    """Keys have 8 bits more than the cache holds; values are what it holds; attention has 8 bits more than values."""
    changed = {}
    for node in graph.of(g.Attention):
        _, key, value = node.inputs
        made: g.Node = graph.node(key)
        changed[key] = Format(HALF, cache_fraction(observed.top(key)) + OUTPUT_BITS)
        while isinstance(made, g.Rotary):
            made = graph.node(made.inputs[0])
            changed[made.name] = changed[key]
        values = cache_fraction(observed.top(value))
        changed[value] = Format(BYTE, values)
        changed[node.name] = Format(HALF, values + OUTPUT_BITS)
    return changed
