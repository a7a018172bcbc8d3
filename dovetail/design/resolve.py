"""Names to things: the public functions take either."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    """How the work is laid out: `pp` stages of `tp` chips each are a replica, and replicas serve side by side.

    The chips of a stage share each of its layers (tensor parallelism); a stage has some layers and hands activations on
    to the next (pipeline parallelism). Without a number `tp` is as many as share a node, divide the machine, and that
    the model's heads divide over. `offload` (``weights`` or ``kv``) streams what the chips have no room for from the
    memory of their hosts.

    Raises
    ------
    DovetailError
        `tp` is not a whole number from 0, `pp` not one from 1, or `offload` neither of the two.
    """

    tp: int = 0
    pp: int = 1
    offload: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.tp, bool) or not isinstance(self.tp, int | np.integer) or self.tp < 0:
            hint = "8, or 0 for as many chips as share a node"
            raise DovetailError(f"{self.tp!r} is not a number of chips", where="tp", hint=hint)
        if isinstance(self.pp, bool) or not isinstance(self.pp, int | np.integer) or self.pp < 1:
            raise DovetailError(f"{self.pp!r} is not a number of stages", where="pp", hint="2, or 1 for no pipeline")
        if self.offload not in ("", "weights", "kv"):
            raise DovetailError(f"cannot offload '{self.offload}'", where="offload", hint="weights or kv")

    def ways(self, machine: Machine, model: Model) -> int:
        """Chips that share a layer. Raises `DovetailError` when the machine's chips do not divide into such groups."""
        if machine.count % self.pp:
            raise _indivisible(f"pp={self.pp}", machine, "pp")
        tp = self.tp or _within_node(machine, model, machine.count // self.pp)
        if machine.count % (tp * self.pp):
            raise _indivisible(f"tp={self.tp}" + (f" x pp={self.pp}" if self.pp > 1 else ""), machine, "tp")
        return tp

    def group(self, machine: Machine, model: Model) -> int:
        """Chips of a replica: those of all stages."""
        return self.ways(machine, model) * self.pp

    def replicas(self, machine: Machine, model: Model) -> int:
        """Groups of chips that serve side by side."""
        return machine.count // self.group(machine, model)

    def share(self, machine: Machine, model: Model, batch: Number) -> Number:
        """Requests of the fullest replica."""
        return np.ceil(np.asarray(batch) / self.replicas(machine, model))


def _indivisible(what: str, machine: Machine, where: str) -> DovetailError:
    return DovetailError(
        f"{what} does not divide {machine.count} chips", where=where, hint="a divisor of the number of chips"
    )


def _within_node(machine: Machine, model: Model, chips: int) -> int:
    """The most chips of a node that divide `chips` and that the heads of `model` divide over; 1 without links."""
    if chips == 1 or not np.any(machine.link):
        return 1
    graph = model.graph()
    return next(n for n in range(min(machine.node, chips), 0, -1) if chips % n == 0 and divides(graph, n))


def as_model(model: Model | str) -> Model:
    return model if isinstance(model, Model) else Model.load(model)


def as_machine(machine: Machine | str) -> Machine:
    return load_machine(machine)


def as_recipe(recipe: Recipe | str | None) -> Recipe:
    return recipe if isinstance(recipe, Recipe) else Recipe.load(recipe or "none")


def weights_of(model: Model) -> Path:
    """The folder that holds a model's weights. Raises `DovetailError` when only its config is known."""
    if model.folder is None:
        raise DovetailError(
            f"the weights of {model.name} are not here",
            where=model.name,
            hint="give a Hugging Face folder with safetensors",
        )
    return model.folder
