"""Every metric of a (model, recipe, machine) on columns of workloads: what a search asks of a design."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from dovetail.core.content import digest
from dovetail.design.estimate import MODEL, estimate
from dovetail.design.feasibility import without_kernel
from dovetail.design.points import table
from dovetail.design.resolve import Plan, as_machine, as_model, as_recipe
from dovetail.design.trust import trust
from dovetail.hardware.machine import Machine
from dovetail.runtime.perplexity import Quality
from dovetail.workload import Workload

Qualities = Mapping[tuple[str, str], Quality]
_RANGED = ("ttft", "tpot", "e2e", "throughput", "energy_per_token", "usd_per_mtok")


@lru_cache(maxsize=512)
def _machine(name: str) -> Machine:
    return as_machine(name)


class DesignEvaluator:
    """Evaluates structures (anything with `model`, `recipe` and `machine` names) by the cost model.

    Parameters
    ----------
    qualities : mapping of (model, recipe) to Quality
        Measured quality; a structure without one has no ``perplexity``.
    machines : mapping of str to Machine
        Machines that stand for a name before the zoo is asked: a host just calibrated, a chip that is only an idea.
    """

    def __init__(self, qualities: Qualities | None = None, machines: Mapping[str, Machine] | None = None) -> None:
        self.qualities, self.machines = dict(qualities or {}), dict(machines or {})

    def machine(self, name: str) -> Machine:
        """The machine called `name`."""
        return self.machines.get(name) or _machine(name)

    @property
    def fingerprint(self) -> str:
        """Changes when the measured qualities or this computer's calibration do, which makes a stored study stale."""
        figures = [[list(key), quality.perplexity] for key, quality in sorted(self.qualities.items())]
        return digest([figures, self.machines])

    def __call__(self, structure: Any, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Metrics of every row, arrays (rows,), under the names of `design.points.flat`."""
        model, machine = as_model(structure.model), self.machine(structure.machine)
        work = Workload(prompt=columns["prompt"], output=columns["output"], batch=columns["batch"])
        found: dict[str, Any] = dict(table(model, machine, as_recipe(structure.recipe), Plan(), work))
        capacity = float(machine.memory.capacity) * (1.0 - machine.stack.reserve)
        too_long = np.asarray(work.total_tokens) > model.max_context
        graph = as_recipe(structure.recipe).rewrite(model.graph())
        found["limit"] = "kernel" if without_kernel(graph, machine) else np.where(too_long, "context", "memory")
        found["excess"] = np.maximum(found["memory"] / capacity, np.asarray(work.total_tokens) / model.max_context)
        found["why"] = lambda row: self._why(structure, columns, row)
        known = trust(graph, machine, Plan().ways(machine, model))
        for name in _RANGED:
            factor = known.factor(name)
            found[f"{name}_low"], found[f"{name}_high"] = found[name] / factor, found[name] * factor
        found["kinds"], found["source"] = {name: known.kind(name) for name in _RANGED}, MODEL
        quality = self.qualities.get((structure.model, structure.recipe))
        if quality is not None:
            low, high = quality.perplexity_interval
            found |= {"perplexity": quality.perplexity, "perplexity_low": low, "perplexity_high": high}
            found["kinds"]["perplexity"] = "measured"
        return found

    def _why(self, structure: Any, columns: Mapping[str, np.ndarray], row: int) -> str:
        prompt, output, batch = (float(columns[name][row]) for name in ("prompt", "output", "batch"))
        point = Workload(prompt, output, batch)
        return "; ".join(estimate(structure.model, self.machine(structure.machine), point, structure.recipe).why)
