"""Names to things: the public functions take either."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.formats import Number
from dovetail.hardware import load_machine
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.system.tensor_parallel import divides


@dataclass(frozen=True, slots=True)
class Plan:
    """How the work is laid out: `tp` chips share every layer, ``count / tp`` replicas serve side by side.

    Without a number, as many as share a node, divide the machine, and that the model's heads divide over.
    """

    tp: int = 0

    def ways(self, machine: Machine, model: Model) -> int:
        """Chips that share a layer. Raises `DovetailError` when the machine's chips do not divide into such groups."""
        tp = self.tp or _within_node(machine.count, machine.node, model)
        if tp < 1 or machine.count % tp:
            raise DovetailError(
                f"tp={self.tp} does not divide {machine.count} chips",
                where="tp",
                hint="a divisor of the number of chips",
            )
        return tp

    def replicas(self, machine: Machine, model: Model) -> int:
        """Groups of chips that serve side by side."""
        return machine.count // self.ways(machine, model)

    def share(self, machine: Machine, model: Model, batch: Number) -> Number:
        """Requests of the fullest replica."""
        return np.ceil(np.asarray(batch) / self.replicas(machine, model))


def _within_node(count: int, node: int, model: Model) -> int:
    """The most chips of a node that divide `count` and that the heads of `model` divide over."""
    if count == 1:
        return 1
    graph = model.graph()
    return next(n for n in range(min(count, node), 0, -1) if count % n == 0 and divides(graph, n))


def as_model(model: Model | str) -> Model:
    return model if isinstance(model, Model) else Model.load(model)


def as_machine(machine: Machine | str) -> Machine:
    return machine if isinstance(machine, Machine) else load_machine(machine)


def as_recipe(recipe: Recipe | str | None) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else Recipe.load(recipe or "none")
