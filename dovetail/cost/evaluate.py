"""(graph, machine) to time and energy, vectorised: each operator by the model that knows most of it.

Products and attention on a machine whose kernels are known (`Machine.kernels`) are priced by their tiles
(`dovetail.cost.gpu`), those of an integer array by its cycles (`dovetail.cost.integer_array`), everything else by a
roofline (`dovetail.cost.roofline`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.gpu import kernel_cost
from dovetail.cost.integer_array import array_cost, sequenced
from dovetail.cost.operators import OperatorCost
from dovetail.cost.packed import executed
from dovetail.cost.roofline import resident_share, roofline_cost
from dovetail.cost.stationary import array_share, with_arrays
from dovetail.cost.traffic import Traffic, streamed_bytes, traffic
from dovetail.cost.transfer import stream_cost
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer
from dovetail.model.operators import Operator


@dataclass(frozen=True, slots=True)
class GraphCost:
    """One step of a graph on a machine; arrays have the graph's shape. `operators` is empty without detail.

    `passes` is how often the step's fixed time counts: several times along a pipeline (`dovetail.cost.pipeline`).
    """

    time_s: Number
    energy_j: Number
    flops: Number
    bytes: Number
    operators: tuple[OperatorCost, ...] = ()
    passes: Number = 1

    def bottleneck(self) -> str:
        """What most of the time of a scalar step goes to, in words; the step's own fixed time is a candidate.

        An operator counts as one in all kinds of layer: ``down`` is ``down@0`` and ``down@3`` together.
        """
        total = float(np.max(self.time_s))
        shares: dict[str, dict[str, float]] = {}
        for o in self.operators:
            name, here = re.sub(r"@[^.]*", "", o.name), shares.setdefault(o.bound, {})
            here[name] = here.get(name, 0.0) + float(np.max(o.time_s))
        sums = {bound: sum(here.values()) for bound, here in shares.items()}
        sums["step overhead"] = total - sum(sums.values())
        bound = max(sums, key=lambda b: sums[b])
        here = shares.get(bound, {})
        most = f"; most in {max(here, key=lambda name: here[name])}" if here else ""
        return f"{bound} ({sums[bound] / total:.0%} of the time{most})"


def operator_cost(
    operator: Operator, work: Traffic, resident: Number, machine: Machine, *, alone: bool = False
) -> OperatorCost:
    """Cost of all repetitions of one operator.

    Parameters
    ----------
    resident : Number
        Share of the streamed bytes that never leave the cache.
    alone : bool
        One call repeated by itself, as benchmarks do: see `kernel_cost`.
    """
    if machine.integer_array is not None:
        return array_cost(operator, work, machine, machine.integer_array)
    found = kernel_cost(operator, work, machine, alone=alone) if machine.kernels is not None else None
    return roofline_cost(operator, work, resident, machine) if found is None else found


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
    machine = executed(graph, machine)
    works = [traffic(o, machine) for o in graph.operators]
    resident, share = resident_share(streamed_bytes(graph, works), machine), array_share(graph, machine)
    costs: list[OperatorCost] = []
    for operator, work in zip(graph.operators, works, strict=True):
        if isinstance(operator, HostTransfer):  # beside all that comes before it
            before = sum((cost.time_s for cost in costs), 0.0)
            costs.append(stream_cost(operator, work.dtype, before, machine))
        else:
            cost = operator_cost(operator, work, resident, machine)
            costs.append(with_arrays(operator, share, machine, cost))
    costs = costs if machine.integer_array is None else sequenced(costs, machine)
    time = sum(c.time_s for c in costs) + machine.stack.step_s
    energy = sum(c.energy_j for c in costs) + machine.stack.step_s * machine.idle_w
    flops, moved = sum(c.flops for c in costs), sum(c.bytes for c in costs)
    return GraphCost(time, energy, flops, moved, tuple(costs) if detail else ())
