"""An operator's time by a roofline with efficiencies, launch overhead and cache residency.

For one operator with F FLOPs, S bytes streamed (weights, KV) and A bytes of activations:

    compute = F / (peak * compute efficiency)
    memory  = S / bandwidth(S resident or not) + A / bandwidth(A)
    time    = max(compute, memory) + (1 - overlap) * min(compute, memory) + unpacking + launch

for packed weights on a CPU with kernels of our own, compute includes unpacking (`dovetail.hardware.packed`); and, for
a collective, the time on the links (`dovetail.cost.collectives`).

The streamed bytes of a whole step stay in the last cache where they fit; beyond its capacity the resident part falls
linearly to nothing at twice the capacity, as a least-recently-used cache swept in a circle loses its lines. The
roofline is Williams, Waterman and Patterson, CACM 52(4), 2009.
"""

from __future__ import annotations

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.collectives import beyond_launch_s
from dovetail.cost.operators import OperatorCost, energy_j
from dovetail.cost.packed import product_of
from dovetail.cost.traffic import Traffic
from dovetail.hardware.machine import Machine
from dovetail.model.operators import Attention, Collective, Operator


def resident_share(streamed: Number, machine: Machine) -> Number:
    """Share of the bytes that stream through a step which never leave the last cache."""
    if not machine.caches:
        return 0.0
    return np.clip(2.0 - streamed / machine.caches[0].capacity, 0.0, 1.0)


def _per_byte(machine: Machine) -> tuple[Number, Number]:
    """Seconds per byte of main memory and of the last-level cache, efficiencies applied."""
    main = 1.0 / (machine.memory.bandwidth * machine.efficiency.memory)
    cache = 1.0 / machine.caches[0].bandwidth if machine.caches else main
    return main, np.minimum(cache, main)


def roofline_cost(operator: Operator, work: Traffic, resident: Number, machine: Machine) -> OperatorCost:
    """Cost of all repetitions of one operator; `resident` is the share of streamed bytes that never leave the cache."""
    main, cache = _per_byte(machine)
    repeat, efficiency = operator.repeat, machine.efficiency
    fits = work.activations <= machine.caches[0].capacity / 2 if machine.caches else False
    spilled = np.where(fits, 0.0, work.activations)
    streamed = work.streamed * work.passes
    main_bytes = streamed * (1.0 - resident) + spilled
    cache_bytes = streamed * resident + (work.activations - spilled)
    reached = efficiency.compute * (efficiency.attention if isinstance(operator, Attention) else 1.0)
    peak, packed = machine.peak_of(work.dtype), product_of(work.kernel, machine)
    compute = work.flops * (1.0 / (peak * reached))
    if np.any(np.asarray(efficiency.score_flops)):
        compute = compute + work.scores * (efficiency.score_flops / (peak * efficiency.compute))
    memory = main_bytes * main + cache_bytes * cache
    if packed is not None and machine.packed is not None:
        compute = work.flops / packed.peak + work.unpacked * packed.weight_s
        memory = main_bytes / machine.packed.bandwidth
    busy = np.maximum(compute, memory)
    if packed is None and np.any(np.asarray(efficiency.overlap) != 1.0):
        busy = busy + (1.0 - efficiency.overlap) * np.minimum(compute, memory)
    unpack: Number = 0.0
    if packed is None:
        unpack = work.unpacked * (machine.stack.unpack_flops / machine.peak_of(work.dtype))
    link: Number = 0.0
    if isinstance(operator, Collective):
        link = beyond_launch_s(operator.kind, work.sent, operator.ways, machine)
    time = (busy + unpack + link + machine.stack.launch_s) * repeat
    energy = energy_j(time, work.flops * repeat, main_bytes * repeat, work.dtype, machine)
    return OperatorCost(
        operator.name, repeat, work.dtype, work.flops * repeat, main_bytes * repeat, cache_bytes * repeat,
        compute * repeat, memory * repeat, link * repeat, unpack * repeat, machine.stack.launch_s * repeat,
        time, energy, packed=work.kernel,
    )  # fmt: skip
