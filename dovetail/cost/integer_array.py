"""Steps of an integer array behind one memory port, by what its sequencer does in a cycle.

The array takes `columns * lanes` weights a cycle, for `rows` tokens at once; the port fetches the weights ahead, so
that a pass takes the longer of all that the port moves and all that the engines do. Cycles of the engines:

    product    (n k / lanes + n headers) / columns, for each group of `rows` tokens; a header is a word of multipliers
               or, with 4 bits, of steps of 64 groups
    attention  kv_heads (2 head_dim span / (columns lanes) + DRAIN), for each group of `rows` queries; softmax beside it
    vectors    3 k / columns + VECTOR for each token before each product, 5 k / columns + STORE for its values

The constants are depths of pipelines of `dovetail.accel.rtl`, as its cycle model (`dovetail.accel.cycles`) has them;
none is fitted. Left out: channels that do not fill whole words, and the few instructions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.operators import OperatorCost, energy_j
from dovetail.cost.traffic import Traffic
from dovetail.hardware.integer_array import IntegerArray
from dovetail.hardware.machine import Machine
from dovetail.model.operators import Attention, Linear, Operator

PRODUCT, DRAIN = 11, 19  # cycles from a product's last block to the next instruction; of two passes over a KV head
VECTOR, STORE = 30, 17  # of a vector's way through its unit, and to the cache
DIVIDE = 21  # of softmax for one row, at least
GROUPS = 64  # inputs for each byte of steps of a matrix of 4 bits

_Parts = tuple[Number, Number, Number]  # cycles of the array, bytes of the port, cycles between products


def array_cost(operator: Operator, work: Traffic, machine: Machine, held: IntegerArray) -> OperatorCost:
    """Cost of all repetitions of one operator, alone: the longer of port and engines."""
    repeat, second = operator.repeat, 1.0 / machine.clock_hz
    cycles, moved, between = _parts(operator, held)
    engine, port = (cycles + between) * second, moved / machine.memory.bandwidth
    time = np.maximum(engine, port) * repeat
    energy = energy_j(time, work.flops * repeat, moved * repeat, work.dtype, machine)
    return OperatorCost(
        operator.name, repeat, work.dtype, work.flops * repeat, moved * repeat, 0.0, cycles * second * repeat,
        port * repeat, 0.0, 0.0, between * second * repeat, time, energy,
    )  # fmt: skip


def _parts(operator: Operator, held: IntegerArray) -> _Parts:
    if isinstance(operator, Linear):
        return _product(operator, held)
    return _attention(operator, held) if isinstance(operator, Attention) else (0.0, 0.0, 0.0)


def _product(operator: Linear, held: IntegerArray) -> _Parts:
    groups, tiles = (-(-np.asarray(operator.m) // size) for size in (held.rows, held.tile))
    weights = sum(w.elements for w in operator.weights)
    outputs = sum(w.rows * w.experts for w in operator.weights)
    narrow = all(w.format.quantised and w.format.bits <= 4 for w in operator.weights)
    headers = held.header + (np.maximum(held.header, operator.k / GROUPS) if narrow else 0.0)  # bytes of an output
    cycles = (weights + outputs * headers * tiles / groups) / (held.columns * held.lanes) * groups
    vectors = (3 * operator.k / held.columns + VECTOR) * operator.m + PRODUCT * len(operator.weights) * tiles
    return cycles, (weights * (0.5 if narrow else 1.0) + outputs * headers) * tiles, vectors


def _attention(operator: Attention, held: IntegerArray) -> _Parts:
    sharing = operator.heads / operator.kv_heads
    heads = operator.batch * operator.kv_heads
    groups = heads * (-(-np.asarray(operator.tokens * sharing) // held.rows))
    moved = groups * operator.visible * operator.cached_channels
    softmax = heads * operator.tokens * sharing * DIVIDE
    stored = operator.batch * operator.tokens * (5 * operator.kv_heads * operator.values / held.columns + STORE)
    last = DIVIDE * sharing + operator.visible / held.columns
    written = operator.batch * operator.tokens * operator.kv_heads * operator.values * held.stored
    return np.maximum(moved / (held.columns * held.lanes) + groups * DRAIN, softmax), moved + written, stored + last


def sequenced(costs: Sequence[OperatorCost], machine: Machine) -> list[OperatorCost]:
    """The costs of a pass: what is between products costs nothing where the port has more to bring than they take."""
    streams = sum(np.maximum(c.compute_s, c.memory_s) for c in costs)
    engines, alone = sum(c.compute_s + c.launch_s for c in costs), sum(c.time_s for c in costs)
    share = np.maximum(engines, streams) / alone
    return [replace(cost, time_s=cost.time_s * share, energy_j=_energy(cost, share, machine)) for cost in costs]


def _energy(cost: OperatorCost, share: Number, machine: Machine) -> Number:
    return energy_j(cost.time_s * share, cost.flops, cost.bytes, cost.dtype, machine)
