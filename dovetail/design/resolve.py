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


@dataclass(frozen=True, slots=True)
class Plan:
    """How the work is laid out: `tp` chips share every layer, ``count / tp`` replicas serve side by side."""

    tp: int = 0  # 0: all chips of the machine

    def ways(self, machine: Machine) -> int:
        """Chips that share a layer. Raises `DovetailError` when the machine's chips do not divide into such groups."""
        tp = self.tp or machine.count
        if tp < 1 or machine.count % tp:
            raise DovetailError(
                f"tp={self.tp} does not divide {machine.count} chips",
                where="tp",
                hint="a divisor of the number of chips",
            )
        return tp

    def replicas(self, machine: Machine) -> int:
        """Groups of chips that serve side by side."""
        return machine.count // self.ways(machine)

    def share(self, machine: Machine, batch: Number) -> Number:
        """Requests of the fullest replica."""
        return np.ceil(np.asarray(batch) / self.replicas(machine))


def as_model(model: Model | str) -> Model:
    return model if isinstance(model, Model) else Model.load(model)


def as_machine(machine: Machine | str) -> Machine:
    return machine if isinstance(machine, Machine) else load_machine(machine)


def as_recipe(recipe: Recipe | str | None) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else Recipe.load(recipe or "none")
