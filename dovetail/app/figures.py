"""From estimates to the figures of a report: roofline, memory, crossover, predicted beside measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dovetail.app.report import (
    Crossover,
    CrossoverSeries,
    Measured,
    MeasuredRow,
    Memory,
    MemoryBar,
    Roof,
    Roofline,
    RooflinePoint,
)
from dovetail.cost import GraphCost
from dovetail.design.crossover import gains
from dovetail.design.estimate import Estimate
from dovetail.design.measure import Row
from dovetail.hardware import Machine
from dovetail.model import Model

_BOUND = {"launch": "overhead", "link": "memory"}


def roofline(found: Estimate, title: str, note: str = "") -> Roofline:
    """Every operator of both steps under the roof of the machine: bytes of all levels together."""
    points = [
        point
        for phase, cost in (("prefill", found.steps.prefill), ("decode", found.steps.decode))
        for point in _points(phase, cost)
    ]
    dtypes = {o.dtype for o in found.steps.decode.operators}
    machine = found.machine
    levels = {machine.memory.name: float(machine.memory.bandwidth)}
    levels |= {level.name: float(level.bandwidth) for level in machine.caches[:1]}
    return Roofline(
        title, Roof(machine.title, {d: float(machine.peak[d]) for d in sorted(dtypes)}, levels), points, note
    )


def _points(phase: str, cost: GraphCost) -> Iterable[RooflinePoint]:
    for o in cost.operators:
        moved = float(o.bytes) + float(o.cache_bytes)
        if moved > 0 and float(o.flops) > 0:
            share = float(o.time_s) / float(cost.time_s)
            bound = _BOUND.get(o.bound, o.bound)
            rate = float(o.flops) / float(o.time_s)
            yield RooflinePoint(f"{phase} {o.name}", float(o.flops) / moved, rate, bound, share)


def memory_bars(found: Sequence[Estimate], title: str, note: str = "") -> Memory:
    """Weights, KV cache and activations of each estimate against what its machine leaves."""
    bars = []
    for e in found:
        held = e.metrics.memory
        parts = {"weights": float(held.weights), "KV cache": float(held.kv_cache)}
        parts |= {"activations": float(held.activations), "buffers": float(held.total) - sum(parts.values())}
        parts["buffers"] -= parts["activations"]
        bars.append(MemoryBar(f"{e.recipe.name} on {e.machine.name}", parts, float(held.capacity)))
    return Memory(title, bars, note)


def crossover(
    model: Model,
    machine: Machine,
    recipes: Sequence[str],
    batches: Sequence[int],
    contexts: Sequence[int],
    note: str = "",
) -> Crossover:
    """Gain in time per output token of each recipe over the model as it is, against batch, for each context."""
    found = gains(model, machine, recipes, batches, contexts)
    series = [CrossoverSeries(g.recipe, float(g.context), g.batch.tolist(), g.gain.tolist()) for g in found]
    return Crossover(f"When does each method pay? {model.name} on {machine.name}", "none", series, note=note)


def measured(rows: Sequence[Row], title: str, note: str = "") -> Measured:
    """Predicted beside measured."""
    return Measured(
        title,
        [
            MeasuredRow(
                r.what,
                r.metric,
                r.predicted.value,
                r.predicted.low,
                r.predicted.high,
                r.measured.value,
                r.predicted.unit,
                r.error,
            )
            for r in rows
            if r.measured is not None
        ],
        note=note,
    )
