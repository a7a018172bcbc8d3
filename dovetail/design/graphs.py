"""The graphs that one chip executes: the model's, changed by the recipe, split by the plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost import Memory, memory
from dovetail.design.images import image_graph
from dovetail.design.offload import kept
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.system.pipeline_parallel import all_requests, pipeline_parallel, stage_layers
from dovetail.system.tensor_parallel import tensor_parallel
from dovetail.workload import Workload


def step_graph(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, share: Number, tokens: Number, context: Number
) -> Graph:
    """One step of `share` requests, each with `tokens` new tokens after `context` cached ones; of all stages."""
    whole = recipe.rewrite(model.graph(batch=share, tokens=tokens, context=context))
    return tensor_parallel(whole, plan.ways(machine, model))


@dataclass(frozen=True, slots=True)
class Passes:
    """What a replica does for `share` requests, stage by stage: one chip's graphs for each.

    In a pipeline requests go in micro-batches, ``min(pp, share)`` of them at once: with fewer requests than stages some
    stages idle. All are taken for as large as the fullest. A prefill may take smaller ones where the stack prefills in
    chunks: as many whole prompts as a chunk holds, at least one. No prompt is cut.
    """

    model: Model
    machine: Machine
    recipe: Recipe
    plan: Plan
    work: Workload
    share: Number

    @property
    def circulating(self) -> Number:
        """Micro-batches that decode at once."""
        return np.minimum(self.plan.pp, self.share)

    @property
    def decoding(self) -> Number:
        """Requests of the fullest micro-batch that decodes."""
        return np.ceil(np.asarray(self.share) / self.plan.pp) if self.plan.pp > 1 else self.share

    @property
    def filling(self) -> Number:
        """Requests of the fullest micro-batch of a prefill."""
        chunk, most = np.asarray(self.machine.stack.chunk), self.decoding
        if self.plan.pp == 1 or not np.any(chunk):
            return most
        return np.where(chunk > 0, np.clip(chunk // self.work.prefilled, 1, most), most)[()]

    @property
    def fills(self) -> Number:
        """Micro-batches of a prefill."""
        return np.ceil(self.share / self.filling) if self.plan.pp > 1 else 1

    def prefill(self) -> tuple[Graph, ...]:
        """The prefill of a micro-batch."""
        return self._stages(self.filling, self.work.prefilled, 0)

    def decode(self) -> tuple[Graph, ...]:
        """A decode step of a micro-batch at the mean context."""
        return self._stages(self.decoding, 1, self.work.mean_context)

    def last(self) -> tuple[Graph, ...]:
        """The last decode step of a micro-batch, with the caches of all requests."""
        found = self._stages(self.decoding, 1, self.work.cached_tokens - 1)
        return tuple(all_requests(graph, self.share) for graph in found) if self.plan.pp > 1 else found

    def images(self) -> Graph | None:
        """The pass over the images of a micro-batch, on the first stage before its prefill."""
        return image_graph(self.model, self.machine, self.plan, self.filling, self.work)

    def held(self, prefill: Sequence[Graph], last: Sequence[Graph]) -> tuple[Memory, ...]:
        """Memory of a chip of each stage, which has one micro-batch in work and the caches of all."""
        seen, offload = self.images(), self.plan.offload
        found = (
            memory(first, full, self.machine, None if stage else seen)
            for stage, (first, full) in enumerate(zip(prefill, last, strict=True))
        )
        if not offload:
            return tuple(found)
        return tuple(kept(each, full, self.machine, offload) for each, full in zip(found, last, strict=True))

    def _stages(self, requests: Number, tokens: Number, context: Number) -> tuple[Graph, ...]:
        machine, pp = self.machine, self.plan.pp
        whole = step_graph(self.model, machine, self.recipe, self.plan, requests, tokens, context)
        if pp == 1:
            return (whole,)
        layers = stage_layers(self.model.layers, pp)
        return pipeline_parallel(whole, layers, machine, self.plan.ways(machine, self.model))


def memory_of(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, share: Number | None = None
) -> Memory:
    """Memory of a chip whose replica holds `share` requests of `work`; by default those that the plan gives it.

    Of a pipeline, that of the fullest stage.
    """
    share = plan.share(machine, model, work.batch) if share is None else share
    found = Passes(model, machine, recipe, plan, work, share)
    return fullest(found.held(found.prefill(), found.last()))


def fullest(stages: Sequence[Memory]) -> Memory:
    """The memory of the stage that needs most, for each point."""
    if len(stages) == 1:
        return stages[0]
    at = fullest_stage(stages)
    names = Memory.__dataclass_fields__
    columns = {name: np.broadcast_arrays(at, *(getattr(each, name) for each in stages)) for name in names}
    return Memory(**{name: np.take_along_axis(np.stack(c[1:]), c[0][None], 0)[0][()] for name, c in columns.items()})


def fullest_stage(stages: Sequence[Memory]) -> np.ndarray:
    """The number of the stage that needs most, for each point; the first of equals."""
    needed = np.stack(np.broadcast_arrays(*(np.asarray(each.total + each.host) for each in stages)))
    return np.asarray(needed.argmax(axis=0))
