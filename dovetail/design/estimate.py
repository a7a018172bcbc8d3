"""`estimate`: one design on one machine, every number with its interval, kind and source."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dovetail.core.quantity import Kind, Quantity, exact
from dovetail.cost.memory import PARTS
from dovetail.design.buildable import built
from dovetail.design.feasibility import why_not
from dovetail.design.images import with_image_tokens
from dovetail.design.points import Metrics, Steps, metrics, steps
from dovetail.design.quality_forecast import QualityForecast, quality_forecast
from dovetail.design.resolve import Plan, as_machine, as_model, as_recipe
from dovetail.design.speculation import Speculation, speculation
from dovetail.design.trust import Trust, trust
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

MODEL = "dovetail: kernels by their tiles where they are known, else a roofline with efficiency, launches and residency"

KEYS = (
    "model", "machine", "chips", "on", "tp", "pp", "recipe", "workload", "ttft", "ttft_alone", "tpot", "throughput",
    "energy_per_token", "usd_per_mtok", "memory", "memory_capacity", "bottleneck", "perplexity_ratio",
    "speculation", "feasible", "why",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A prediction. Arrays in the workload make arrays in `metrics`; the quantities are for scalar workloads."""

    model: Model
    machine: Machine
    recipe: Recipe
    plan: Plan
    workload: Workload
    metrics: Metrics
    steps: Steps

    @property
    def trust(self) -> Trust:
        """Kind and range of every metric."""
        return trust(self.steps.decode_graph, self.machine, self.plan.group(self.machine, self.model))

    @property
    def kind(self) -> Kind:
        """How times are known: at best ``calibrated``; energy and price may be known less well (`trust`)."""
        return self.trust.kind("tpot")

    @property
    def feasible(self) -> Any:
        """Whether it fits, elementwise for arrays."""
        return self.metrics.fits if np.ndim(self.metrics.fits) else bool(self.metrics.fits)

    @property
    def why(self) -> list[str]:
        """What binds when a scalar design does not fit."""
        held, graph = self.metrics.memory, self.steps.decode_graph
        return why_not(self.model, self.machine, self.recipe, self.plan, self.workload, held, graph)

    def quantity(self, value: float, unit: str, metric: str = "tpot") -> Quantity:
        """`value` with the kind and range of `metric`: by default of a time, or what is inverse to one."""
        known, value = self.trust, float(value)
        factor, kind = known.factor(metric), known.kind(metric)
        return Quantity(value, value / factor, value * factor, unit, kind, f"{MODEL}, {self.machine.name}")

    @property
    def ttft(self) -> Quantity:
        return self.quantity(self.metrics.ttft_s, "s")

    @property
    def ttft_alone(self) -> Quantity:
        """Time to first token of one request that is prefilled alone, as engines do when requests arrive one by one."""
        alone = replace(self.workload, output=1, batch=1)
        found = steps(self.model, self.machine, self.recipe, self.plan, alone, detail=False)
        return self.quantity(found.first_token_s, "s")

    @property
    def tpot(self) -> Quantity:
        return self.quantity(self.metrics.tpot_s, "s")

    @property
    def throughput(self) -> Quantity:
        return self.quantity(self.metrics.throughput, "tok/s")

    @property
    def energy_per_token(self) -> Quantity:
        return self.quantity(self.metrics.energy_per_token_j, "J/tok", "energy_per_token")

    @property
    def usd_per_mtok(self) -> Quantity | None:
        """Price per million output tokens; None where the machine has no rent."""
        price = float(self.metrics.usd_per_token) * 1e6
        return None if np.isnan(price) else self.quantity(price, "USD/Mtok", "usd_per_mtok")

    @property
    def quality(self) -> QualityForecast:
        """What the recipe does to perplexity, as published tables have it: models are not run for an estimate."""
        return quality_forecast(self.model, self.recipe)

    def speculation(self, *, full: bool = True) -> Speculation | None:
        """When guessing pays, with its map over batch and context if `full`; None for a recipe that does not guess."""
        return speculation(self.model, self.machine, self.recipe, self.plan, self.workload, full=full)

    def memory(self) -> dict[str, Quantity]:
        """Bytes on each chip by what they hold, and their total; exact for weights, caches and pages.

        Of a pipeline, on each chip of the fullest stage.
        """
        held = self.metrics.memory
        parts = {name: getattr(held, name) for name in (*PARTS, "total", *(("host",) if held.host else ()))}
        return {
            name: exact(float(v), "byte", "modelled", "tensor shapes and formats of the graph")
            for name, v in parts.items()
        }

    def bottleneck(self) -> dict[str, str]:
        """What most of each phase's time goes to, in words."""
        found = {"images": self.steps.images} if self.steps.images else {}
        found |= {"prefill": self.steps.prefill, "decode": self.steps.decode}
        return {phase: cost.bottleneck() for phase, cost in found.items()}

    def to_json(self) -> dict[str, Any]:
        """The stable `KEYS` of ``dovetail estimate --json``."""
        price, source = self.usd_per_mtok, self.machine.source("memory.capacity")
        ratio, guessed = self.quality.ratio, self.speculation()
        capacity = exact(float(self.metrics.memory.capacity), "byte", source.kind, source.text)
        return {
            "model": self.model.name, "machine": self.machine.name, "chips": self.machine.count,
            "on": self.machine.label, "tp": self.plan.ways(self.machine, self.model), "pp": self.plan.pp,
            "recipe": self.recipe.name, "workload": asked(self.workload),
            "ttft": self.ttft.to_json(), "ttft_alone": self.ttft_alone.to_json(),
            "tpot": self.tpot.to_json(), "throughput": self.throughput.to_json(),
            "energy_per_token": self.energy_per_token.to_json(), "usd_per_mtok": price.to_json() if price else None,
            "memory": {name: q.to_json() for name, q in self.memory().items()},
            "memory_capacity": capacity.to_json(), "bottleneck": self.bottleneck(),
            "perplexity_ratio": ratio.to_json() if ratio else None,
            "speculation": guessed.to_json() if guessed else None,
            "feasible": self.feasible, "why": self.why,
        }  # fmt: skip


def asked(work: Workload) -> dict[str, float]:
    """The numbers of a scalar workload; those of its images where it has some."""
    numbers = {name: float(value) for name, value in work.columns().items()}
    if work.images is None:
        return numbers
    shown = {"images": work.images.count, "image_height": work.images.height, "image_width": work.images.width}
    return numbers | {k: float(v) for k, v in shown.items()} | {"image_tokens": float(work.images.tokens)}


def estimate(
    model: Model | str,
    on: Machine | str,
    workload: Workload | None = None,
    recipe: Recipe | str | None = None,
    plan: Plan | None = None,
) -> Estimate:
    """Predict time, energy, memory and price of a model on a machine.

    Parameters
    ----------
    model : Model or str
        A model, a zoo name, a Hugging Face folder or a config.json.
    on : Machine or str
        A machine, a zoo name (``"8 x h100-sxm"`` for several, ``dgx-h100`` for a system) or a YAML file.
    workload : Workload
        Lengths and batch, images; arrays give arrays.
    recipe : Recipe or str
        How the model is changed (``"w4a16-rtn"``); nothing by default.
    plan : Plan
        How layers are split; by default each over as many chips of a node as the heads divide over, in one stage.

    Returns
    -------
    Estimate
        `feasible` False with reasons in `why` where it does not fit: that is a result, not an error.

    Raises
    ------
    DovetailError
        Unknown names, a workload out of range, arithmetic that the machine lacks, images for a model without eyes.
    """
    found, chip, how = as_model(model), as_machine(on), as_recipe(recipe)
    layout, work = plan or Plan(), with_image_tokens(found, workload or Workload())
    both = steps(found, chip, how, layout, work, detail=True)
    made = metrics(found, chip, how, layout, work, both)
    if chip.integer_array is not None:
        made = replace(made, fits=built(found, chip, how, work) & made.fits)
    return Estimate(found, chip, how, layout, work, made, both)
