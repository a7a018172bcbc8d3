"""Speed of light: the least seconds that an operator's work allows, whatever runs it and however well.

    light = max(FLOPs / dense peak, bytes / bandwidth, bytes sent / link)

Every byte of the operands counts once and comes from main memory, caches aside; nothing is padded, unpacked or
launched, and no efficiency applies. What a step keeps in a cache may therefore be faster than light.
"""

from __future__ import annotations

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.collectives import candidates, phases
from dovetail.cost.gpu import attention_dtype
from dovetail.cost.traffic import traffic
from dovetail.hardware.machine import Machine
from dovetail.model.operators import Attention, Collective, Operator


def speed_of_light_s(operator: Operator, machine: Machine) -> Number:
    """Seconds of all repetitions of `operator` at the dense peak of its dtype and at full bandwidth.

    Parameters
    ----------
    operator : Operator
        Shapes may be arrays; the result has their common shape.
    machine : Machine
        One chip, and the links to the others for a collective.

    Raises
    ------
    DovetailError
        The machine has no arithmetic of the dtype, or no link.
    """
    work = traffic(operator, machine)
    dtype = work.dtype
    if machine.kernels is not None and isinstance(operator, Attention):
        dtype = attention_dtype(operator, machine)
    moved = (work.streamed + work.activations) / machine.memory.bandwidth
    found = np.maximum(work.flops / machine.peak_of(dtype), moved)
    if isinstance(operator, Collective):
        found = np.maximum(found, _link_s(operator, work.sent, machine))
    return found * operator.repeat


def _link_s(operator: Collective, sent: Number, machine: Machine) -> Number:
    """Seconds that the bytes take on the links at their full bandwidth, by the algorithm that sends the fewest."""
    if operator.ways == 1:
        return 0.0 * sent
    algorithms = {transport.algorithm for transport in candidates(machine, operator.kind, operator.ways)}
    times = [
        sum(p.sent / p.bandwidth for p in phases(operator.kind, sent, operator.ways, machine, algorithm))
        for algorithm in sorted(algorithms)
    ]
    return np.minimum.reduce(np.broadcast_arrays(*times))
