"""Moving weights and caches: between a chip and its host, between two chips, and beside the work of layers.

A copy in one direction takes ``start + bytes / (bandwidth * reached)``. Copies run beside kernels, layer by layer:

    streamed (what the next step reads again)   step = max(work, copies)
    handed over (once, as layers finish)        all  = max(work + copies / L, work / L + copies)

The first has no beginning: while the last layers of a step run, the first ones of the next are fetched. In the second
the copy of a layer starts when the layer is done, of L layers that take equally long: the longer of the two pipelines
fills or drains by one layer of the shorter (Johnson's two-machine flow shop with equal jobs, 1954).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.cost.collectives import collective_s
from dovetail.cost.memory import cache_bytes
from dovetail.cost.operators import OperatorCost
from dovetail.hardware.machine import Machine
from dovetail.model.graph import Graph
from dovetail.model.host_transfer import HostTransfer

# Of a host link's stated bandwidth, by copies from page-locked memory: packets of 256 bytes carry 24 to 28 of headers,
# and flow control takes some. Ordinary pages are first copied to page-locked ones by one core: about half of that.
REACHED = {"pinned": 0.8, "pageable": 0.4}  # modelled, not fitted
RANGE = 0.25  # half-width of the range of `REACHED`, relative
START_S = 1e-5  # from a copy's call to its first byte, modelled


@dataclass(frozen=True, slots=True)
class Handover:
    """A cache on its way: `size` bytes of one chip, seconds of the copies alone, with the work, and beyond it; joules.

    Energy is that of main memory, read at one end and written at the other (chips of one kind); links have no facts.
    """

    size: Number
    time_s: Number
    whole_s: Number
    exposed_s: Number
    energy_j: Number


def host_copy_s(
    size: Number, machine: Machine, pages: Literal["pinned", "pageable"] = "pinned", copies: Number = 1
) -> Number:
    """Seconds to move `size` bytes between a chip and its host in one direction, in so many copies; 0 for no bytes.

    Raises
    ------
    DovetailError
        The machine's file does not say what joins it to a host.
    """
    if not np.all(np.asarray(machine.host_link) > 0):
        raise DovetailError(
            f"no link from {machine.name} to its host is known", where="host_link",
            hint="add host_link (bytes/s per direction) to its YAML", exit_code=INFEASIBLE,
        )  # fmt: skip
    return np.where(np.asarray(size) > 0, copies * START_S, 0.0) + size / (machine.host_link * REACHED[pages])


def handover(
    graph: Graph, machine: Machine, work_s: Number, *, to: Literal["chip", "host"] = "chip", ways: int = 2
) -> Handover:
    """The caches of a prefill handed to another chip or to the host, each layer's when it is done.

    Parameters
    ----------
    graph : Graph
        A step whose caches move as long as they are after it.
    work_s : Number
        Seconds of the step.
    to : {"chip", "host"}
        Over the fabric, point to point between chips that lie `ways` apart, or over the host's link.

    Raises
    ------
    DovetailError
        No such link.
    """
    size = sum((cache_bytes(cache, machine) for cache in graph.caches), 0.0)
    layers = len({layer for cache in graph.caches for layer in cache.layers}) or 1
    if to == "host":
        time_s = host_copy_s(size, machine, copies=layers)
    else:
        time_s = layers * collective_s("p2p", size / layers, ways, machine)
    whole_s = np.maximum(work_s + time_s / layers, work_s / layers + time_s)
    ends = 1 if to == "host" else 2
    return Handover(size, time_s, whole_s, whole_s - work_s, ends * size * machine.j_per_byte)


def stream_cost(operator: HostTransfer, dtype: str, work_s: Number, machine: Machine) -> OperatorCost:
    """What a stream from the host adds to a step whose operators take `work_s`: the time that it is the longer."""
    link_s = host_copy_s(operator.size, machine, copies=operator.repeat)
    time_s = np.maximum(link_s - work_s, 0.0)
    energy = time_s * machine.idle_w + operator.size * machine.j_per_byte
    none = 0.0 * operator.size
    return OperatorCost(
        operator.name, operator.repeat, dtype, none, operator.size, none, none, none, link_s, none, none, time_s,
        np.minimum(energy, (time_s + work_s) * machine.tdp_w),
    )  # fmt: skip
