"""What holds for every model, machine and shape: monotone, bounded, additive, and the same by arrays as by points."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost import GraphCost, evaluate, matmul, memory
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe

MODELS = [Model.load(name) for name in ("Qwen/Qwen2.5-0.5B", "meta-llama/Llama-3.1-8B", "mistralai/Mixtral-8x7B-v0.1")]
MACHINES = [load_machine(name) for name in ("h100-sxm", "l4", "mi300x", "tpu-v5e", "b200-sxm")]
RECIPES = [Recipe.load(name) for name in ("none", "w4a16-rtn", "w8a16")]

models, machines, recipes = st.sampled_from(MODELS), st.sampled_from(MACHINES), st.sampled_from(RECIPES)
batches, tokens, contexts = st.integers(1, 300), st.integers(1, 4000), st.integers(0, 30_000)
factors = st.floats(1.0, 50.0)


def cost(model: Model, machine: Machine, recipe: Recipe, batch: Any, new: Any, context: Any) -> GraphCost:
    return evaluate(recipe.rewrite(model.graph(batch=batch, tokens=new, context=context)), machine)


@given(models, machines, recipes, batches, tokens, contexts, factors)
def test_a_better_machine_is_never_slower(model, machine, recipe, batch, new, context, factor) -> None:
    base = cost(model, machine, recipe, batch, new, context).time_s
    memory, stack = machine.memory, machine.stack
    better = [
        replace(machine, memory=replace(memory, bandwidth=memory.bandwidth * factor)),
        replace(machine, peak={d: p * factor for d, p in machine.peak.items()}),
        replace(machine, caches=tuple(replace(c, capacity=c.capacity * factor) for c in machine.caches)),
        replace(machine, caches=tuple(replace(c, bandwidth=c.bandwidth * factor) for c in machine.caches)),
        replace(machine, stack=replace(stack, launch_s=stack.launch_s / factor)),
    ]
    for other in better:
        assert cost(model, other, recipe, batch, new, context).time_s <= base * (1 + 1e-12)


@given(models, machines, recipes, batches, tokens, contexts, st.integers(1, 5000))
def test_more_work_is_never_faster_nor_cheaper_nor_smaller(model, machine, recipe, batch, new, context, more) -> None:
    base = cost(model, machine, recipe, batch, new, context)
    held = memory(*[recipe.rewrite(model.graph(batch=batch, tokens=new, context=context))] * 2, machine)
    for shape in ((batch + more, new, context), (batch, new, context + more), (batch, new + more, context)):
        larger = cost(model, machine, recipe, *shape)
        graph = recipe.rewrite(model.graph(*shape))
        assert larger.time_s >= base.time_s * (1 - 1e-12)
        assert larger.energy_j >= base.energy_j * (1 - 1e-12)
        assert memory(graph, graph, machine).total >= held.total


@given(models, machines, recipes, batches, tokens, contexts)
def test_power_lies_between_idle_and_the_limit(model, machine, recipe, batch, new, context) -> None:
    found = cost(model, machine, recipe, batch, new, context)
    watts = found.energy_j / found.time_s
    assert machine.idle_w * (1 - 1e-12) <= watts <= machine.tdp_w * (1 + 1e-12)


@given(models, machines, recipes, batches, tokens, contexts)
def test_no_step_beats_the_peaks(model, machine, recipe, batch, new, context) -> None:
    found = cost(model, machine, recipe, batch, new, context)
    peak = max(machine.peak[o.dtype] for o in found.operators)
    assert found.flops / found.time_s <= peak
    assert found.bytes / found.time_s <= machine.memory.bandwidth


@given(models, machines, recipes, st.lists(st.tuples(batches, tokens, contexts), min_size=1, max_size=8))
def test_points_together_equal_points_alone(model, machine, recipe, points) -> None:
    batch, new, context = (np.array(column) for column in zip(*points))
    together = cost(model, machine, recipe, batch, new, context)
    whole = memory(*[recipe.rewrite(model.graph(batch=batch, tokens=new, context=context))] * 2, machine)
    for i, point in enumerate(points):
        alone = cost(model, machine, recipe, *point)
        held = memory(*[recipe.rewrite(model.graph(*point))] * 2, machine)
        for name in ("time_s", "energy_j", "flops", "bytes"):
            values = np.broadcast_to(getattr(together, name), batch.shape)
            assert values[i] == pytest.approx(getattr(alone, name), rel=1e-12)
        assert np.broadcast_to(whole.total, batch.shape)[i] == pytest.approx(held.total, rel=1e-12)


@given(models, machines, batches, tokens, contexts, st.data())
def test_a_union_of_operators_is_the_sum_where_no_cache_is_shared(model, machine, batch, new, context, data) -> None:
    bare = replace(machine, caches=())
    graph = model.graph(batch=batch, tokens=new, context=context)
    cut = data.draw(st.integers(0, len(graph.operators)))
    parts = [part(graph, slice(cut)), part(graph, slice(cut, None))]
    whole, costs = evaluate(graph, bare), [evaluate(p, bare) for p in parts]
    once = bare.stack.step_s
    assert whole.time_s - once == pytest.approx(sum(c.time_s - once for c in costs), rel=1e-9)
    assert whole.energy_j == pytest.approx(sum(c.energy_j for c in costs) - once * bare.idle_w, rel=1e-9)
    assert (whole.flops, whole.bytes) == pytest.approx((sum(c.flops for c in costs), sum(c.bytes for c in costs)))


def part(graph: Graph, which: slice) -> Graph:
    return replace(graph, operators=graph.operators[which])


@given(models, machines, batches, tokens, contexts)
def test_detail_changes_no_total_and_adds_up_to_it(model, machine, batch, new, context) -> None:
    graph = model.graph(batch=batch, tokens=new, context=context)
    short, full = evaluate(graph, machine, detail=False), evaluate(graph, machine)
    assert short.operators == ()
    assert (short.time_s, short.energy_j) == (full.time_s, full.energy_j)
    assert sum(o.time_s for o in full.operators) + machine.stack.step_s == pytest.approx(full.time_s, rel=1e-12)
    for o in full.operators:
        if o.model != "roofline":
            assert max(o.compute_s, o.memory_s) + o.launch_s <= o.time_s * (1 + 1e-9)  # causes overlap in part
            continue
        parts = max(o.compute_s, o.memory_s) + o.unpack_s + o.link_s + o.launch_s
        assert o.time_s == pytest.approx(parts, rel=1e-9)  # every machine of the list overlaps fully


@given(machines, st.integers(1, 5000), st.integers(1, 9000), st.integers(1, 9000), st.sampled_from(["bf16", "int4"]))
def test_a_product_alone_lies_within_its_interval_and_above_its_bounds(machine, m, n, k, weight) -> None:
    found = matmul(m, n, k, machine=machine, weight=weight)
    assert found.low < found.time_s < found.high
    assert found.time_s >= 2 * m * n * k / max(machine.peak.values())
    assert found.energy_j <= machine.tdp_w * found.time_s * (1 + 1e-12)
