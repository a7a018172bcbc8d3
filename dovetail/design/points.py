"""The columns of a design: every metric for every point of a workload, in blocks that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost import GraphCost, Memory, evaluate
from dovetail.cost.pipeline import along, filling, steady
from dovetail.design.feasibility import without_kernel
from dovetail.design.graphs import Passes, fullest, fullest_stage
from dovetail.design.offload import streaming
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
    the whole system (all chips) at that batch, per output token. In a pipeline a prefill goes in micro-batches of whole
    prompts, and ``ttft_s`` is when the last one leaves the last stage; ``tpot_s`` is a round of all micro-batches that
    circulate (`design.graphs.Passes`, `cost.pipeline`). A prefill and decoding do not mix.
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

    The pass over images precedes the prefill; there is none in a workload without them. Of a pipeline, the graphs of
    prefill and decode are a micro-batch's way through all stages, their costs what it waits for (`cost.pipeline`), and
    `last_graph` is the stage that `memory` is of: the fullest, at the first point.
    """

    prefill_graph: Graph
    decode_graph: Graph
    last_graph: Graph
    prefill: GraphCost
    decode: GraphCost
    memory: Memory
    image_graph: Graph | None = None
    images: GraphCost | None = None
    stage: int = 0

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
    passes = Passes(model, machine, recipe, plan, work, plan.share(machine, model, work.batch))
    first, later, last, seen = passes.prefill(), passes.decode(), passes.last(), passes.images()
    held = passes.held(first, last)
    if plan.offload:
        each = tuple(zip(last, held, strict=True))
        first, later = (
            tuple(streaming(g, full, m, machine, plan.offload) for g, (full, m) in zip(some, each, strict=True))
            for some in (first, later)
        )
    prefill, decode = (_costs(some, machine, plan, detail) for some in (first, later))
    images = None if seen is None else evaluate(seen, machine, detail=detail)
    stage = int(np.ravel(fullest_stage(held))[0]) if len(held) > 1 else 0
    found = Steps(
        _joined(first), _joined(later), last[stage], prefill[0], decode[0], fullest(held), seen, images, stage
    )
    return found if plan.pp == 1 else _pipelined(found, passes, prefill, decode)


def _costs(stages: Sequence[Graph], machine: Machine, plan: Plan, detail: bool) -> list[GraphCost]:
    """Of every stage; those with the same operators, as often, cost the same."""
    known: dict[tuple[Any, ...], GraphCost] = {}
    found = []
    for stage, graph in enumerate(stages):
        alike = tuple((o.name, o.repeat, getattr(o, "ways", 0)) for o in graph.operators)
        key = (alike, stage if plan.offload else 0)  # each stage lacks room for something else
        if key not in known:
            known[key] = evaluate(graph, machine, detail=detail)
        found.append(known[key])
    return found


def _joined(stages: Sequence[Graph]) -> Graph:
    """One graph of what all stages do, in their order."""
    if len(stages) == 1:
        return stages[0]
    operators, caches = (tuple(x for graph in stages for x in getattr(graph, n)) for n in ("operators", "caches"))
    return replace(stages[0], operators=operators, caches=caches)


def _pipelined(found: Steps, passes: Passes, prefill: Sequence[GraphCost], decode: Sequence[GraphCost]) -> Steps:
    """What a micro-batch waits for in the pipeline; the first stage sees its images before it reads its prompt."""
    idle_w, chips, seen = passes.machine.idle_w, len(prefill), found.images
    later = steady([cost.time_s for cost in decode], passes.circulating)
    times = [cost.time_s for cost in prefill]
    first = filling(times if seen is None else [times[0] + seen.time_s, *times[1:]], passes.fills)
    return replace(
        found,
        prefill=along(prefill, first, passes.fills, chips, idle_w),
        decode=along(decode, later, passes.circulating, chips, idle_w),
        images=None if seen is None else along([seen], first[:1], passes.fills, chips, idle_w),
    )


def metrics(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, found: Steps) -> Metrics:
    """The metrics of a design from the costs of its two steps.

    Replicas are filled one after the other up to `Plan.share`; one left without requests idles.
    """
    tpot = found.decode.time_s / found.decode_graph.tokens_per_step
    ttft = found.first_token_s
    e2e = ttft + work.decode_steps * tpot
    tokens = work.batch * work.output
    decode_energy = found.decode.energy_j / found.decode_graph.tokens_per_step * work.decode_steps
    busy = np.ceil(work.batch / plan.share(machine, model, work.batch)) * plan.group(machine, model)
    energy = (found.first_token_j + decode_energy) * busy + machine.idle_w * e2e * (machine.count - busy)
    usd = e2e * (machine.usd_per_hour * machine.count / 3600.0)
    held = found.memory
    runs = held.fits & (np.asarray(work.total_tokens) <= model.max_context)
    runs = runs & (not without_kernel(found.decode_graph, machine))
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
