"""The columns of a design: every metric for every point of a workload, in blocks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost import GraphCost, Memory, evaluate, memory
from dovetail.design.feasibility import without_kernel
from dovetail.design.graphs import step_graph
from dovetail.design.images import image_graph
from dovetail.design.offload import kept, streaming
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

BLOCK = 16384  # points evaluated together: 128 KiB a column, few enough for a processor's cache, many for NumPy


@dataclass(frozen=True, slots=True)
class Metrics:
    """One design on the points of a workload; every field has the workload's broadcast shape.

    ``ttft_s`` is the prefill of the whole batch in one pass, without queueing, also where the stack prefills in chunks
    (they only bound the activations); ``tpot_s`` the mean over a request's output; energy, money and throughput are of
    the whole system (all chips) at that batch, per output token.
    """

    ttft_s: Number
    tpot_s: Number
    e2e_s: Number
    throughput: Number
    energy_per_token_j: Number
    usd_per_token: Number
    power_w: Number
    memory: Memory
    fits: Number


@dataclass(frozen=True, slots=True)
class Steps:
    """The graphs of one chip that the metrics come from, with their costs; `last_graph` is the last decode step.

    The pass over images precedes the prefill; there is none in a workload without them.
    """

    prefill_graph: Graph
    decode_graph: Graph
    last_graph: Graph
    prefill: GraphCost
    decode: GraphCost
    image_graph: Graph | None = None
    images: GraphCost | None = None

    @property
    def first_token_s(self) -> Number:
        """Seconds until the first token."""
        return self.prefill.time_s if self.images is None else self.prefill.time_s + self.images.time_s

    @property
    def first_token_j(self) -> Number:
        """Joules of one chip until the first token."""
        return self.prefill.energy_j if self.images is None else self.prefill.energy_j + self.images.energy_j


def steps(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, *, detail: bool) -> Steps:
    """Images and prefill of the batch, the decode step at the mean context; after `recipe` and `plan`, with costs."""
    plan = replace(plan, tp=plan.ways(machine, model))
    share = plan.share(machine, model, work.batch)

    def graph(tokens: Number, context: Number) -> Graph:
        return step_graph(model, machine, recipe, plan, share, tokens, context)

    def cost(each: Graph) -> GraphCost:
        return evaluate(each, machine, detail=detail)

    first, later, last = graph(work.prefilled, 0), graph(1, work.mean_context), graph(1, work.cached_tokens - 1)
    seen = image_graph(model, machine, plan, share, work)
    if plan.offload:
        held = kept(memory(first, last, machine, seen), last, machine, plan.offload)
        first, later = (streaming(each, last, held, machine, plan.offload) for each in (first, later))
    return Steps(first, later, last, cost(first), cost(later), seen, None if seen is None else cost(seen))


def metrics(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, found: Steps) -> Metrics:
    """The metrics of a design from the costs of its two steps.

    Replicas are filled one after the other up to `Plan.share`; one left without requests idles.
    """
    tpot = found.decode.time_s / found.decode_graph.tokens_per_step
    ttft = found.first_token_s
    e2e = ttft + work.decode_steps * tpot
    tokens = work.batch * work.output
    decode_energy = found.decode.energy_j / found.decode_graph.tokens_per_step * work.decode_steps
    busy = np.ceil(work.batch / plan.share(machine, model, work.batch)) * plan.ways(machine, model)
    energy = (found.first_token_j + decode_energy) * busy + machine.idle_w * e2e * (machine.count - busy)
    held = memory(found.prefill_graph, found.last_graph, machine, found.image_graph)
    held = kept(held, found.last_graph, machine, plan.offload) if plan.offload else held
    usd = e2e * (machine.usd_per_hour * machine.count / 3600.0)
    runs = held.fits & (np.asarray(work.total_tokens) <= model.max_context)
    runs = runs & (not without_kernel(found.last_graph, machine))
    return Metrics(
        ttft, tpot, e2e, tokens / e2e, energy / tokens, usd / tokens, energy / e2e, held, runs,
    )  # fmt: skip


def table(
    model: Model, machine: Machine | Callable[[slice], Machine], recipe: Recipe, plan: Plan, work: Workload
) -> dict[str, np.ndarray]:
    """Every metric as a flat column, shape (points,), evaluated block by block; `work` may hold millions of points.

    `machine` is one for all points, or gives that of some of them, its numbers columns as the workload's are.
    """
    columns = {name: np.ravel(column) for name, column in work.columns().items()}
    points = columns["batch"].size
    out: dict[str, np.ndarray] = {}
    for start in range(0, points, BLOCK):
        rows: dict[str, Any] = {name: column[start : start + BLOCK] for name, column in columns.items()}
        part = replace(work, **rows)
        chip = machine(slice(start, start + BLOCK)) if callable(machine) else machine
        plan = replace(plan, tp=plan.ways(chip, model))
        found = metrics(model, chip, recipe, plan, part, steps(model, chip, recipe, plan, part, detail=False))
        for name, value in flat(found).items():
            if name not in out:
                out[name] = np.empty(points, dtype=np.asarray(value).dtype)
            out[name][start : start + BLOCK] = value
    return out


def flat(found: Metrics) -> dict[str, Number]:
    """Metrics by their public names: the columns that a search sees."""
    return {
        "ttft": found.ttft_s, "tpot": found.tpot_s, "e2e": found.e2e_s, "throughput": found.throughput,
        "energy_per_token": found.energy_per_token_j, "usd_per_mtok": found.usd_per_token * 1e6, "power": found.power_w,
        "memory": found.memory.total, "weights": found.memory.weights, "kv_cache": found.memory.kv_cache,
        "activations": found.memory.activations, "feasible": found.fits,
    }  # fmt: skip
