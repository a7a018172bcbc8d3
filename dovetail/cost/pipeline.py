"""A pipeline of stages over micro-batches of equal work: when it is done, and what its chips draw.

With t_s the time of stage s for one micro-batch, S stages and n micro-batches:

    filling  sum(t) + (n - 1) max(t)     the first passes all stages, the others leave behind the slowest one
    steady   max(sum(t), n max(t))       each returns to the first stage at once: a round

The first is GPipe's (arXiv 1811.06965, section 2.3; equal stages: (S + n - 1) t, Megatron-LM, arXiv 2104.04473, section
2.2). The second is the period of n customers who circulate through S stations in order: a customer needs all stages, a
station serves all customers. While n <= S and stages are alike, sum(t) is the larger, and S - n of them idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.evaluate import GraphCost
from dovetail.cost.operators import OperatorCost

_GROWING = (
    "flops", "bytes", "cache_bytes", "compute_s", "memory_s", "link_s", "unpack_s", "launch_s", "time_s", "energy_j",
)  # fmt: skip


def filling(times: Sequence[Number], count: Number) -> list[Number]:
    """How often each stage is on the critical path of `count` micro-batches, one behind the other.

    Parameters
    ----------
    times : sequence of Number
        Seconds of each stage for a micro-batch.
    """
    return [1.0 + (count - 1.0) * here for here in _slowest(times)]


def steady(times: Sequence[Number], count: Number) -> list[Number]:
    """How often each stage is on the critical path of a round of `count` micro-batches that circulate."""
    slowest, walk = _slowest(times), sum(times)
    longest = sum(time * here for time, here in zip(times, slowest, strict=True))
    held_up = count * longest > walk
    return [np.where(held_up, count * here, 1.0)[()] for here in slowest]


def _slowest(times: Sequence[Number]) -> list[Number]:
    """For each stage 1 where it is the slowest (the first of them), 0 elsewhere."""
    at = np.stack(np.broadcast_arrays(*(np.asarray(time, float) for time in times))).argmax(axis=0)
    return [(at == stage).astype(float)[()] for stage in range(len(times))]


def along(
    stages: Sequence[GraphCost], passes: Sequence[Number], count: Number, chips: int, idle_w: Number
) -> GraphCost:
    """The time along a critical path, its operators as often as they are on it; joules, FLOPs and bytes of a chip.

    A chip draws what `count` micro-batches cost and idles the rest of the time. Of `chips` stages, the mean; those that
    are not among `stages` idle.
    """
    time = sum(cost.time_s * often for cost, often in zip(stages, passes, strict=True))
    busy, joules, flops, moved = (
        sum(getattr(cost, name) for cost in stages) * count / chips for name in ("time_s", "energy_j", "flops", "bytes")
    )
    operators = (scaled(o, often) for cost, often in zip(stages, passes, strict=True) for o in cost.operators)
    return GraphCost(time, joules + idle_w * (time - busy), flops, moved, tuple(operators), sum(passes))


def scaled(cost: OperatorCost, by: Number) -> OperatorCost:
    """The operator `by` times; its repetitions too where that is one number."""
    if np.ndim(by) == 0 and by == 1.0:
        return cost
    values = {name: getattr(cost, name) * by for name in _GROWING}
    return replace(cost, **values, repeat=round(cost.repeat * float(by)) if np.ndim(by) == 0 else cost.repeat)
