"""(graph, machine) to time and energy: a roofline with efficiencies, launch overhead and cache residency, vectorised.

For one operator with F FLOPs, S bytes streamed (weights, KV) and A bytes of activations:

    compute = F / (peak * compute efficiency)
    memory  = S / bandwidth(S resident or not) + A / bandwidth(A)
    time    = max(compute, memory) + (1 - overlap) * min(compute, memory) + unpacking + launch

and, for a collective, the time on the links (`dovetail.cost.collectives`).

The streamed bytes of a whole step stay in the last cache where they fit; beyond its capacity the resident part falls
linearly to nothing at twice the capacity, as a least-recently-used cache swept in a circle loses its lines. The
roofline is Williams, Waterman and Patterson, CACM 52(4), 2009.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.collectives import beyond_launch_s
from dovetail.cost.traffic import Traffic, streamed_bytes, traffic
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Attention, Collective, Graph, Operator


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """One operator kind, all its repetitions: seconds by cause, FLOPs, bytes by level and joules."""

    name: str
    repeat: int
    dtype: str
    flops: Number
    bytes: Number
    cache_bytes: Number
    compute_s: Number
    memory_s: Number
    link_s: Number
    unpack_s: Number
    launch_s: Number
    time_s: Number
    energy_j: Number

    @property
    def bound(self) -> str:
        """What limits a scalar operator: ``compute``, ``memory``, ``link`` or ``launch``."""
        parts = {"compute": self.compute_s, "memory": self.memory_s, "link": self.link_s, "launch": self.launch_s}
        return max(parts, key=lambda p: float(np.max(parts[p])))


@dataclass(frozen=True, slots=True)
class GraphCost:
    """One step of a graph on a machine; arrays have the graph's shape. `operators` is empty without detail."""

    time_s: Number
    energy_j: Number
    flops: Number
    bytes: Number
    operators: tuple[OperatorCost, ...] = ()

    def bottleneck(self) -> str:
        """What most of the time of a scalar step goes to, in words; the step's own fixed time is a candidate."""
        total = float(np.max(self.time_s))
        shares = {"step overhead": total - sum(float(np.max(o.time_s)) for o in self.operators)}
        for o in self.operators:
            shares[o.bound] = shares.get(o.bound, 0.0) + float(np.max(o.time_s))
        bound = max(shares, key=lambda b: shares[b])
        top = max((o for o in self.operators if o.bound == bound), key=lambda o: float(np.max(o.time_s)), default=None)
        most = f"; most in {top.name}" if top else ""
        return f"{bound} ({shares[bound] / total:.0%} of the time{most})"


def _resident_share(streamed: Number, machine: Machine) -> Number:
    if not machine.caches:
        return 0.0
    return np.clip(2.0 - streamed / machine.caches[0].capacity, 0.0, 1.0)


def _per_byte(machine: Machine) -> tuple[Number, Number]:
    """Seconds per byte of main memory and of the last-level cache, efficiencies applied."""
    main = 1.0 / (machine.memory.bandwidth * machine.efficiency.memory)
    cache = 1.0 / machine.caches[0].bandwidth if machine.caches else main
    return main, np.minimum(cache, main)


def operator_cost(operator: Operator, work: Traffic, resident: Number, machine: Machine) -> OperatorCost:
    """Cost of all repetitions of one operator; `resident` is the share of streamed bytes that never leave the cache."""
    main, cache = _per_byte(machine)
    repeat, efficiency = operator.repeat, machine.efficiency
    fits = work.activations <= machine.caches[0].capacity / 2 if machine.caches else False
    spilled = np.where(fits, 0.0, work.activations)
    streamed = work.streamed * work.passes
    main_bytes = streamed * (1.0 - resident) + spilled
    cache_bytes = streamed * resident + (work.activations - spilled)
    reached = efficiency.compute * (efficiency.attention if isinstance(operator, Attention) else 1.0)
    peak = machine.peak_of(work.dtype)
    compute = work.flops * (1.0 / (peak * reached))
    if np.any(np.asarray(efficiency.score_flops)):
        compute = compute + work.scores * (efficiency.score_flops / (peak * efficiency.compute))
    memory = main_bytes * main + cache_bytes * cache
    busy = np.maximum(compute, memory)
    if np.any(np.asarray(efficiency.overlap) != 1.0):
        busy = busy + (1.0 - efficiency.overlap) * np.minimum(compute, memory)
    unpack = work.unpacked * (machine.stack.unpack_flops / machine.peak_of(work.dtype))
    link: Number = 0.0
    if isinstance(operator, Collective):
        link = beyond_launch_s(operator.kind, work.sent, operator.ways, machine)
    time = (busy + unpack + link + machine.stack.launch_s) * repeat
    dynamic = (work.flops * machine.j_per_flop[work.dtype] + main_bytes * machine.j_per_byte) * repeat
    energy = np.minimum(time * machine.idle_w + dynamic, time * machine.tdp_w)
    return OperatorCost(
        operator.name, repeat, work.dtype, work.flops * repeat, main_bytes * repeat, cache_bytes * repeat,
        compute * repeat, memory * repeat, link * repeat, unpack * repeat, machine.stack.launch_s * repeat,
        time, energy,
    )  # fmt: skip


def evaluate(graph: Graph, machine: Machine, *, detail: bool = True) -> GraphCost:
    """Time, energy, FLOPs and main-memory bytes of one step of `graph` on `machine`.

    Parameters
    ----------
    graph : Graph
        Shapes may be arrays; results broadcast to their common shape.
    machine : Machine
        One chip (a parallel plan has already split the graph); its numbers may be arrays too.
    detail : bool
        Keep the cost of every operator.

    Raises
    ------
    DovetailError
        The machine has no arithmetic for a dtype of the graph, or no link for its collectives.
    """
    works = [traffic(o, machine) for o in graph.operators]
    resident = _resident_share(streamed_bytes(graph, works), machine)
    costs = [operator_cost(o, w, resident, machine) for o, w in zip(graph.operators, works, strict=True)]
    time = sum(c.time_s for c in costs) + machine.stack.step_s
    energy = sum(c.energy_j for c in costs) + machine.stack.step_s * machine.idle_w
    flops, moved = sum(c.flops for c in costs), sum(c.bytes for c in costs)
    return GraphCost(time, energy, flops, moved, tuple(costs) if detail else ())
