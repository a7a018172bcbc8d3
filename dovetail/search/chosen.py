"""A candidate of a search as what it stands for: model, machine, recipe, plan and workload."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.design.estimate import Estimate, estimate
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.resolve import Plan, as_model
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.search.result import Candidate
from dovetail.search.space import Space
from dovetail.workload import Workload


@dataclass(frozen=True, slots=True)
class Chosen:
    """One design."""

    model: Model
    machine: Machine
    recipe: Recipe
    plan: Plan
    workload: Workload

    def estimate(self) -> Estimate:
        """Its prediction."""
        return estimate(self.model, self.machine, self.workload, self.recipe, self.plan)


def design_of(space: Space, candidate: Candidate) -> Chosen:
    """What a candidate of a search of `space` stands for. Raises `DovetailError` for names that are gone."""
    s, point = candidate.structure, {name: float(value) for name, value in candidate.point.items()}
    ask = DesignEvaluator(variants=tuple(free.variant for free in space.free), recipes=space.made)
    work = Workload(prompt=int(point["prompt"]), output=int(point["output"]), batch=int(point["batch"]))
    plan = Plan(s.tp, s.pp or 1)
    machine = ask.machine(s.machine, plan, {name: np.float64(value) for name, value in point.items()})
    return Chosen(as_model(s.model), machine, ask.recipe(s.recipe), plan, work)
