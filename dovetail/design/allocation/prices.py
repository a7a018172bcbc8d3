"""What each group of matrices costs at each width on a machine: metrics that are sums over operators, taken apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.cost.traffic import resident_bytes
from dovetail.design.feasibility import without_kernel
from dovetail.design.points import Steps, flat, metrics, steps
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear
from dovetail.recipe.quantising import AS_IT_IS
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.targets import is_target
from dovetail.workload import Workload

Array = NDArray[np.float64]
METRICS = ("ttft", "tpot", "e2e", "energy_per_token", "memory", "weights")
"""What an allocation may be asked for; each is a constant and a sum over operators."""


@dataclass(frozen=True, slots=True)
class Group:
    """Matrices of one layer that an engine multiplies in one call, hence at one width."""

    name: str
    operator: str
    layer: int
    tensors: tuple[str, ...]
    elements: int


def groups_of(graph: Graph) -> tuple[Group, ...]:
    """Every group of matrices that recipes change, in the order in which they are called, layer by layer."""
    found: list[Group] = []
    for operator in graph.operators:
        weights = [w for w in operator.weights if is_target(operator, w)]
        for layer in operator.layers if weights else ():
            kind = operator.name.partition("@")[0]
            tensors = tuple(t for w in weights for t in w.tensors((layer,)))
            found.append(Group(f"{kind}.{layer}", kind, layer, tensors, sum(int(w.elements) for w in weights)))
    if not found:
        raise DovetailError("has no linear layers to quantise", where="model", exit_code=INFEASIBLE)
    return tuple(sorted(found, key=lambda group: group.layer))


@dataclass(frozen=True, slots=True)
class Prices:
    """Costs on a machine for a workload.

    Parameters
    ----------
    widths : tuple of int
        Bits that are offered, ascending; the last leaves a layer as it is.
    before : mapping
        Metrics of the model as it is.
    costs : mapping of str to Array (groups, widths)
        What each group adds to the metric beyond what it does as it is (mostly negative).
    """

    groups: tuple[Group, ...]
    widths: tuple[int, ...]
    before: dict[str, float]
    costs: dict[str, Array]

    def predicted(self, metric: str, picks: Sequence[int]) -> float:
        """The metric with a width for each group, by its place among `widths`."""
        rows = np.arange(len(self.groups))
        return self.before[metric] + float(self.costs[metric][rows, list(picks)].sum())


def offered(model: Model, machine: Machine, at: Callable[[int], Recipe], widths: Sequence[int]) -> tuple[int, ...]:
    """Those of `widths` that the machine's stack has kernels for, with what is as it is."""
    graph = model.graph()
    runs = (bits for bits in sorted(set(widths)) if without_kernel(at(bits).rewrite(graph), machine) is None)
    return (*(bits for bits in runs if bits != AS_IT_IS), AS_IT_IS)


def prices(
    model: Model, machine: Machine, plan: Plan, work: Workload, at: Callable[[int], Recipe], widths: Sequence[int]
) -> Prices:
    """The prices of all groups at the widths offered.

    The cost of a step is a sum over operators, so those of a graph with one width everywhere price a group at that
    width; where weights fit in a cache only as a whole, this is an approximation, which the caller checks.

    Parameters
    ----------
    at : callable
        The recipe that stores every matrix with some bits.
    """
    groups = groups_of(model.graph())
    found = {bits: steps(model, machine, at(bits), plan, work, detail=True) for bits in widths}
    parts = {bits: _parts(each, machine) for bits, each in found.items()}
    dense = found[AS_IT_IS]
    whole = flat(metrics(model, machine, at(AS_IT_IS), plan, work, dense))
    places = [(group.operator, group.layer) for group in groups]
    more = np.array([[parts[b][place] - parts[AS_IT_IS][place] for b in widths] for place in places])
    costs = _as_metrics(more, dense, model, machine, plan, work)
    return Prices(groups, tuple(widths), {name: float(np.asarray(whole[name])) for name in METRICS}, costs)


def _parts(found: Steps, machine: Machine) -> dict[tuple[str, int], Array]:
    """Of one layer of each product: seconds and joules of prefill and of a decode step, resident bytes."""
    sums: dict[tuple[str, int], Array] = {}
    for offset, graph, cost in ((0, found.prefill_graph, found.prefill), (2, found.decode_graph, found.decode)):
        for operator, priced in zip(graph.operators, cost.operators, strict=True):
            if isinstance(operator, Linear):
                each = np.zeros(5)
                each[offset : offset + 2] = float(priced.time_s), float(priced.energy_j)
                if offset:
                    each[4] = sum(float(resident_bytes(w, machine)) for w in operator.weights) * operator.repeat
                for layer in operator.layers or (0,):
                    place = (operator.name.partition("@")[0], layer)
                    sums[place] = sums.get(place, np.zeros(5)) + each / operator.repeat
    return sums


def _as_metrics(
    parts: Array, found: Steps, model: Model, machine: Machine, plan: Plan, work: Workload
) -> dict[str, Array]:
    """Metrics (groups, widths) of parts (groups, widths, 5): those of `design.points.metrics`, which are linear."""
    first_s, first_j, step_s, step_j, held = np.moveaxis(parts, -1, 0)
    later = float(np.asarray(work.decode_steps))
    tpot = step_s / float(np.asarray(found.decode_graph.tokens_per_step))
    e2e = first_s + later * tpot
    busy = np.ceil(work.batch / plan.share(machine, model, work.batch)) * plan.ways(machine, model)
    joules = (first_j + step_j / float(np.asarray(found.decode_graph.tokens_per_step)) * later) * busy
    energy = (joules + machine.idle_w * e2e * (machine.count - busy)) / float(work.batch * work.output)
    return {"ttft": first_s, "tpot": tpot, "e2e": e2e, "energy_per_token": energy, "memory": held, "weights": held}
