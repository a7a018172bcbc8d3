"""Every metric of a (model, recipe, machine, plan) on columns: what a search asks of a design.

Columns are the workload's, and the free parameters' where the machine is a template: all of them go through the cost
model at once, which takes the numbers of a machine as columns too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from dovetail.core.content import digest
from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import Number
from dovetail.core.quantity import exact
from dovetail.cost.gpu import model_of
from dovetail.design.buildable import built
from dovetail.design.estimate import MODEL
from dovetail.design.feasibility import why_not, without_kernel
from dovetail.design.graphs import memory_of, step_graph
from dovetail.design.points import table
from dovetail.design.quality_forecast import QualityForecast, quality_forecast
from dovetail.design.resolve import Plan, as_machine, as_model, as_recipe
from dovetail.design.trust import trust
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.template import Variant
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.perplexity import Quality
from dovetail.workload import Workload

Qualities = Mapping[tuple[str, str], Quality]
Columns = Mapping[str, np.ndarray]
Bounds = dict[str, tuple[Number, Number]]
_RANGED = ("ttft", "tpot", "e2e", "throughput", "energy_per_token", "usd_per_mtok")
_FALLING = ("ttft", "tpot", "e2e", "energy_per_token", "usd_per_mtok")  # never better than the optimistic machine's
_UNBOUNDED = ("latent",)  # kernels that more cores may make slower
_ALONE = Plan()


@lru_cache(maxsize=512)
def _machine(name: str) -> Machine:
    return as_machine(name)


def in_integers(recipe: str) -> str:
    """What the quality of a recipe is called where an integer array runs it."""
    return f"{recipe} in integers"


class DesignEvaluator:
    """Evaluates structures (anything with `model`, `recipe`, `machine`, `tp` and `pp`) by the cost model.

    Parameters
    ----------
    qualities : mapping of (model, recipe) to Quality
        Measured quality; other structures have the forecast of published tables, as a ratio to the model as it is.
        That of an integer array is under (model, `in_integers` of the recipe) where it is known.
    machines : mapping of str to Machine
        Machines that stand for a name before the zoo is asked: a host just calibrated, a chip that is only an idea.
    variants : iterable of Variant
        Machines made by templates, from columns of their free parameters.
    recipes : mapping of str
        Recipes that no list knows, by name: whatever `Recipe.load` takes.
    """

    def __init__(
        self, qualities: Qualities | None = None, machines: Mapping[str, Machine] | None = None,
        variants: tuple[Variant, ...] = (), recipes: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.qualities, self.machines = dict(qualities or {}), dict(machines or {})
        self.variants = {variant.name: variant for variant in variants}
        self.recipes = dict(recipes or {})
        self.forecast = lru_cache(maxsize=4096)(self._forecast)

    def __reduce__(self) -> tuple[Any, ...]:
        """For another process: what it was made of."""
        return DesignEvaluator, (self.qualities, self.machines, tuple(self.variants.values()), self.recipes)

    def machine(self, name: str, plan: Plan = _ALONE, columns: Mapping[str, Number] | None = None) -> Machine:
        """The machine called `name`; one chip of it becomes as many as `plan` lays the work on."""
        if name in self.variants:
            found = self.variants[name].machine(columns)
        else:
            found = self.machines.get(name) or _machine(name)
        return _enough(found, plan)

    def recipe(self, name: str) -> Recipe:
        """The recipe called `name`."""
        return Recipe.load(self.recipes[name]) if name in self.recipes else as_recipe(name)

    @cached_property
    def fingerprint(self) -> str:
        """Changes when the measured qualities or this computer's calibration do, which makes a stored study stale."""
        figures = [[list(key), quality.perplexity] for key, quality in sorted(self.qualities.items())]
        made = {name: variant.machine() for name, variant in self.variants.items()}
        return digest([figures, self.machines, *([made] if made else [])])

    def known(self, structure: Any) -> dict[str, float]:
        """Metrics that hold whatever the columns are."""
        quality = self._measured(structure)
        if quality is not None:
            return {"perplexity": quality.perplexity}
        ratio = self.forecast(structure.model, structure.recipe).ratio
        return {} if ratio is None else {"perplexity_ratio": ratio.value}

    def _measured(self, structure: Any) -> Quality | None:
        variant = self.variants.get(structure.machine)
        known = self.qualities.get((structure.model, structure.recipe))
        if variant is None or variant.machine().integer_array is None:
            return known
        return self.qualities.get((structure.model, in_integers(structure.recipe)), known)

    def _forecast(self, model: str, recipe: str) -> QualityForecast:
        how = self.recipe(recipe)
        if not how.unguessed().methods:
            return QualityForecast(exact(1.0, "", "modelled", "the model as it is"))
        return quality_forecast(as_model(model), how)

    def __call__(self, structure: Any, columns: Columns) -> dict[str, Any]:
        """Metrics of every row, arrays (rows,), under the names of `design.points.flat`."""
        model, recipe, plan = as_model(structure.model), self.recipe(structure.recipe), _plan(structure)
        found, machine = self._priced(structure, columns, model, recipe, plan)
        work = _work(columns)
        capacity = np.asarray(machine.memory.capacity) * (1.0 - machine.stack.reserve)
        too_long = np.asarray(work.total_tokens) > model.max_context
        graph = recipe.rewrite(model.graph())
        found["limit"] = "kernel" if without_kernel(graph, machine) else np.where(too_long, "context", "memory")
        made = built(model, machine, recipe, work)
        found["feasible"], found["limit"] = found["feasible"] & made, np.where(made, found["limit"], "accelerator")
        found["excess"] = np.maximum(found["memory"] / capacity, np.asarray(work.total_tokens) / model.max_context)
        found["why"] = lambda row: self._why(structure, columns, row)
        known = trust(graph, machine, plan.group(machine, model))
        for name in _RANGED:
            factor = known.factor(name)
            found[f"{name}_low"], found[f"{name}_high"] = found[name] / factor, found[name] * factor
        found["kinds"], found["source"] = {name: known.kind(name) for name in _RANGED}, MODEL
        return found | self._facts(structure, machine) | self._quality(structure, found["kinds"])

    def _priced(
        self, structure: Any, columns: Columns, model: Model, recipe: Recipe, plan: Plan, of: Any = None
    ) -> tuple[dict[str, Any], Machine]:
        """The cost model's metrics, and the machine of all rows; `of` makes the machine from a slice of the rows."""
        name, free = structure.machine, of
        machine = self.machine(name, plan, columns) if of is None else of(slice(None))
        if of is None and name in self.variants:

            def free(part: slice) -> Machine:
                return self.machine(name, plan, {k: v[part] for k, v in columns.items()})

        return dict(table(model, free or machine, recipe, plan, _work(columns))), machine

    def _facts(self, structure: Any, machine: Machine) -> dict[str, Any]:
        """What the hardware itself is, and the fixed parameters of a template."""
        fixed = self.variants[structure.machine].fixed if structure.machine in self.variants else {}
        many = {"area": machine.area_mm2 * machine.count, "price": machine.price_usd * machine.count}
        return {**fixed, **{name: value for name, value in many.items() if not np.all(np.isnan(value))}}

    def _quality(self, structure: Any, kinds: dict[str, str]) -> dict[str, Any]:
        quality = self._measured(structure)
        if quality is not None:
            low, high = quality.perplexity_interval
            kinds["perplexity"] = "measured"
            return {"perplexity": quality.perplexity, "perplexity_low": low, "perplexity_high": high}
        ratio = self.forecast(structure.model, structure.recipe).ratio
        if ratio is None:
            return {"perplexity_ratio": np.nan}
        kinds["perplexity_ratio"] = ratio.kind
        names = ("perplexity_ratio", "perplexity_ratio_low", "perplexity_ratio_high")
        return dict(zip(names, (ratio.value, ratio.low, ratio.high), strict=True))

    def bound(self, structure: Any, low: Columns, high: Columns) -> Bounds | None:
        """Metric -> its least and its greatest value over all machines with free parameters between `low` and `high`.

        The workload's columns are equal in both. `feasible` says (second) where one may fit, `excess` (first) by what
        factor none does. None where more hardware may be slower: kernels of latent attention, arrays in a pipeline.
        """
        if structure.machine not in self.variants:
            return None
        model, recipe, plan = as_model(structure.model), self.recipe(structure.recipe), _plan(structure)
        if not _bounded(recipe.rewrite(model.graph()), self.machine(structure.machine)):
            return None

        count = len(self.variants[structure.machine].optimistic(_first(low), _first(high)))
        if plan.pp > 1 and count > 1:  # stages may be fastest at different ones, and the slowest of them between
            return None
        ends = [self._best(structure, low, high, model, recipe, plan, end) for end in range(count)]
        bounds: Bounds = {
            name: (
                np.minimum.reduce([np.asarray(end[name][0]) for end in ends]),
                np.maximum.reduce([np.asarray(end[name][1]) for end in ends]),
            )
            for name in ends[0]
        }
        return bounds | {name: (value, value) for name, value in self.known(structure).items()}

    def _best(
        self, structure: Any, low: Columns, high: Columns, model: Model, recipe: Recipe, plan: Plan, end: int
    ) -> Bounds:
        """What one of the optimistic machines leaves possible."""

        def best(part: slice) -> Machine:
            low_part, high_part = ({k: v[part] for k, v in columns.items()} for columns in (low, high))
            found = self.variants[structure.machine].optimistic(low_part, high_part)[end]
            return _enough(found, plan)

        found, machine = self._priced(structure, low, model, recipe, plan, best)
        capacity = np.asarray(machine.memory.capacity) * (1.0 - machine.stack.reserve)
        bounds: Bounds = {name: (found[name], np.inf) for name in _FALLING}
        bounds |= {"throughput": (0.0, found["throughput"]), "power": (machine.idle_w * machine.count, np.inf)}
        bounds |= {name: (found[name], found[name]) for name in ("memory", "weights", "kv_cache", "activations")}
        bounds |= {"feasible": (0.0, found["feasible"]), "excess": (found["memory"] / capacity, np.inf)}
        return bounds | {name: (value, np.inf) for name, value in self._facts(structure, machine).items()}

    def _why(self, structure: Any, columns: Columns, row: int) -> str:
        one = {name: np.asarray(values[row]) for name, values in columns.items()}
        model, recipe, plan = as_model(structure.model), self.recipe(structure.recipe), _plan(structure)
        machine, work = self.machine(structure.machine, plan, one), _work(one)
        share = plan.share(machine, model, work.batch)
        last = step_graph(model, machine, recipe, plan, share, 1, work.cached_tokens - 1)
        return "; ".join(
            why_not(model, machine, recipe, plan, work, memory_of(model, machine, recipe, plan, work), last)
        )


def _work(columns: Columns) -> Workload:
    return Workload(prompt=columns["prompt"], output=columns["output"], batch=columns["batch"])


def _first(columns: Columns) -> dict[str, Any]:
    """The first row of each column."""
    return {name: values[:1] for name, values in columns.items()}


def _plan(structure: Any) -> Plan:
    return Plan(int(getattr(structure, "tp", 0)), int(getattr(structure, "pp", 0)) or 1)


def _enough(machine: Machine, plan: Plan) -> Machine:
    """The machine; a chip alone as many as a plan asks for.

    Raises
    ------
    DovetailError
        The chips of one that has several are not divided by the plan: of several machines a plan may fit some.
    """
    chips = max(plan.tp, 1) * plan.pp
    if machine.count > 1 and machine.count % chips:
        raise DovetailError(
            f"a plan of {chips} chips does not divide the {machine.count} of {machine.label}", where="plan",
            hint="the chip alone as the machine, which becomes as many as a plan needs", exit_code=INFEASIBLE,
        )  # fmt: skip
    return replace(machine, count=chips) if chips > 1 and machine.count == 1 else machine


def _bounded(graph: Graph, machine: Machine) -> bool:
    """Whether nothing in the graph is priced by what more hardware may slow down."""
    return not any(model_of(o, machine).partition(".")[0] in _UNBOUNDED for o in graph.operators)
