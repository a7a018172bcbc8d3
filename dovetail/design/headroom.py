"""What still fits on a machine: the largest batch and the longest context of a design, and what would make room."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from dovetail.core.errors import DovetailError
from dovetail.core.units import show
from dovetail.cost import Memory
from dovetail.design.estimate import Estimate
from dovetail.design.feasibility import largest, without_kernel
from dovetail.design.graphs import memory_of, step_graph
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

MOST = 1 << 20  # requests, or tokens of a prompt, beyond which nobody asks
SMALLER = ("w8a16", "w4a16")  # what makes weights smaller, mildest first


@dataclass(frozen=True, slots=True)
class Headroom:
    """What fits, all replicas together.

    Parameters
    ----------
    batch : int
        Most requests of the asked lengths; 0 when not even one fits.
    context : int
        Most tokens of prompt, images and output together at the asked batch, images and output, within the model's own
        limit; 0 when not even a prompt of one token fits.
    limit : int
        The model's longest context.
    changes : tuple of str
        What would make it fit, each with its effect; empty when it fits.
    """

    batch: int
    context: int
    limit: int
    changes: tuple[str, ...]


def headroom(found: Estimate) -> Headroom:
    """The largest batch and longest context of a scalar estimate, and what to change when it does not fit."""
    work, limit = found.workload, found.model.max_context
    beside = _beside(work)
    batch = largest(lambda n: _fits(found, replace(work, batch=n)), MOST)
    prompt = largest(lambda n: _fits(found, replace(work, prompt=n)), max(0, min(limit, MOST) - beside))
    context = prompt + beside if prompt else 0
    changes = () if bool(found.metrics.memory.fits) else tuple(_changes(found, batch, context))
    return Headroom(batch, context, limit, changes)


def _beside(work: Workload) -> int:
    """Tokens of a request that are not words of its prompt: images and output."""
    return int(work.total_tokens) - int(work.prompt)


def _memory(found: Estimate, work: Workload, recipe: Recipe | None = None) -> Memory:
    return memory_of(found.model, found.machine, recipe or found.recipe, found.plan, work)


def _fits(found: Estimate, work: Workload) -> bool:
    return bool(_memory(found, work).fits)


def _changes(found: Estimate, batch: int, context: int) -> Iterator[str]:
    work = found.workload
    if 0 < batch < work.batch:
        yield f"--batch {batch} fits"
    if context:
        yield f"--prompt {context - _beside(work)} fits at batch {float(work.batch):g}"
    yield from _recipes(found)
    yield from _chips(found)


def _recipes(found: Estimate) -> Iterator[str]:
    """Recipes with smaller weights that apply to the model and that the stack has kernels for."""
    for name in SMALLER if not found.recipe.methods else ():
        with suppress(DovetailError):  # columns that groups do not divide
            recipe = Recipe.load(name)
            held = _memory(found, found.workload, recipe)
            saved = float(found.metrics.memory.total) - float(held.total)
            if saved > 0 and _runs(found, recipe):
                words = "fits" if bool(held.fits) else "still does not fit"
                yield f"--recipe {name} saves {show(saved, 'byte')} on each chip and {words}"


def _runs(found: Estimate, recipe: Recipe) -> bool:
    graph = step_graph(found.model, found.machine, recipe, found.plan, 1, 1, 1)
    return not without_kernel(graph, found.machine)


def _chips(found: Estimate) -> Iterator[str]:
    """The fewest chips, in powers of two, that hold it."""
    for doublings in range(1, 7):
        more = replace(found.machine, count=found.machine.count << doublings)
        wide = more.count > more.node and not found.plan.tp and found.plan.pp == 1  # layers stay in a node unless asked
        plan = replace(found.plan, tp=more.count) if wide else found.plan
        asked = (f" --tp {plan.tp}" if plan.tp else "") + (f" --pp {plan.pp}" if plan.pp > 1 else "")
        try:
            if bool(memory_of(found.model, more, found.recipe, plan, found.workload).fits):
                yield f"--on '{more.label}'{asked if wide or plan.pp > 1 else ''} fits"
                return
        except DovetailError:  # heads that do not divide over so many chips
            return
