"""The graphs that one chip executes: the model's, changed by the recipe, split by the plan."""

from __future__ import annotations

from dovetail.core.formats import Number
from dovetail.cost import Memory, memory
from dovetail.design.images import image_graph
from dovetail.design.offload import kept
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.system.tensor_parallel import tensor_parallel
from dovetail.workload import Workload


def step_graph(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, share: Number, tokens: Number, context: Number
) -> Graph:
    """One step of `share` requests, each with `tokens` new tokens after `context` cached ones."""
    whole = recipe.rewrite(model.graph(batch=share, tokens=tokens, context=context))
    return tensor_parallel(whole, plan.ways(machine, model))


def memory_of(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, share: Number | None = None
) -> Memory:
    """Memory of a chip whose replica holds `share` requests of `work`; by default those that the plan gives it."""
    share = plan.share(machine, model, work.batch) if share is None else share
    first = step_graph(model, machine, recipe, plan, share, work.prefilled, 0)
    last = step_graph(model, machine, recipe, plan, share, 1, work.cached_tokens - 1)
    held = memory(first, last, machine, image_graph(model, machine, plan, share, work))
    return kept(held, last, machine, plan.offload) if plan.offload else held
