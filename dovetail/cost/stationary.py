"""Products whose weights stand in arrays: a vector takes a pass of its bits, whatever the matrix; no weight moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.operators import OperatorCost
from dovetail.cost.traffic import resident_bytes
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Operator, Weight


def in_arrays(operator: Operator) -> bool:
    """Whether arrays can make a product: its matrices are those of linear layers."""
    return isinstance(operator, Linear) and all(weight.linear for weight in operator.weights) and bool(operator.weights)


def array_share(graph: Graph, machine: Machine) -> Number:
    """Share of the weights of such products that the arrays hold; 0 on a machine without arrays."""
    if machine.stationary is None:
        return 0.0
    wanted = sum(weight.elements * copies for weight, copies in _matrices(graph))
    return np.minimum(1.0, machine.stationary.weights / np.maximum(wanted, 1.0))


def array_bytes(graph: Graph, machine: Machine) -> Number:
    """Bytes of main memory that arrays save: of the weights that they hold, as a checkpoint stores them."""
    stored = sum((resident_bytes(weight, machine) * copies for weight, copies in _matrices(graph)), 0.0)
    return stored * array_share(graph, machine)


def _matrices(graph: Graph) -> Iterator[tuple[Weight, int]]:
    """Every matrix of such products once, and in how many layers it is."""
    products = {weight.name for operator in graph.operators if in_arrays(operator) for weight in operator.weights}
    return ((weight, len(layers) or 1) for weight, layers in graph.weights() if weight.name in products)


def vectors(operator: Linear) -> Number:
    """Vectors that pass one matrix after the other."""
    return np.maximum(operator.m / np.maximum(operator.active, 1), 1.0) if operator.experts > 1 else operator.m


def with_arrays(operator: Operator, share: Number, machine: Machine, rest: OperatorCost) -> OperatorCost:
    """The cost of a product of which arrays hold a `share` of the weights; `rest` is what all of it takes without.

    The experts of a mixture work at once, each on its own rows. Energy includes the machine's idle power meanwhile.
    """
    held = machine.stationary
    if held is None or not isinstance(operator, Linear) or not in_arrays(operator):
        return rest
    rows = vectors(operator)
    time = (held.latency_s + (rows - 1) * held.pass_s) * operator.repeat
    used = operator.m * operator.n * operator.k * operator.repeat
    energy = used * held.j_per_weight + time * machine.idle_w
    left = 1.0 - share
    names = ("bytes", "cache_bytes", "memory_s", "link_s", "unpack_s", "launch_s")
    kept = {name: getattr(rest, name) * left for name in names}
    return replace(
        rest, **kept, compute_s=rest.compute_s * left + time * share, time_s=rest.time_s * left + time * share,
        energy_j=rest.energy_j * left + energy * share, model="roofline",
    )  # fmt: skip
