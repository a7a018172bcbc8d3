"""A guided search whose designs are measured: quality for each recipe that it looks at, and speed if asked for.

The cost model and published tables rank candidates, put right by each measurement; their front is where it begins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.design.buildable import integers_of
from dovetail.design.evaluator import DesignEvaluator, in_integers
from dovetail.design.quality import integer_quality, measured_quality
from dovetail.design.quality_forecast import quality_order
from dovetail.design.resolve import Plan, as_model
from dovetail.hardware import load_machine
from dovetail.runtime.perplexity import Quality
from dovetail.search.corrected import Corrected
from dovetail.search.guided import BATCH, guided
from dovetail.search.measuring import HERE, HOST, SIMULATED, no_simulator
from dovetail.search.result import Result
from dovetail.search.settled import Settled
from dovetail.search.space import Space, Structure
from dovetail.search.study import Study
from dovetail.search.timed import Ends, Timer, Times
from dovetail.search.warm import warm_start
from dovetail.workload import Workload

SECONDS = 0.5  # of decode, and of prefill, for each design
_OF_BOTH = ("ttft", "e2e", "throughput", "usd_per_mtok")  # what prefill is measured for
Report = Callable[[str], None]
Columns = Mapping[str, NDArray[np.float64]]


def dear_search(
    space: Space, budget: int, *, quality: bool, speed: bool, sampler: str = "auto", seed: int = 0,
    stop: bool = True, study: Study | None = None, report: Report = lambda line: None, seconds: float = SECONDS,
) -> Result:  # fmt: skip
    """The best front that `budget` designs find of which each is measured: on this computer, or as simulated RTL.

    Parameters
    ----------
    quality : bool
        Perplexity is asked for: it is measured for the recipes of the designs that are looked at.
    speed : bool
        Times are measured too; energy stays the cost model's.
    stop : bool
        End where nothing that is still found is certainly new by the intervals of what was measured.

    Raises
    ------
    DovetailError
        With `speed`: a machine that is neither this computer nor an integer array, weights that are not here, a recipe
        that guesses, no Verilator for an array.
    """
    if speed:
        _check(space)
    with Measuring(space, quality, speed, report, seconds) as measuring:
        foreseen = measuring.foreseen()
        start = warm_start(space, foreseen, max(1, budget // 2), sampler, seed)
        report(f"begins at {len(start):,} designs of the front that the cost model sees")
        return guided(
            space, measuring, budget, sampler=sampler, seed=seed, start=start, cheap=Corrected(foreseen), study=study,
            enough=Settled(space.objectives) if stop else None, batch=max(1, min(BATCH, budget // 10)),
        )  # fmt: skip


def _check(space: Space) -> None:
    """Refuse, before any work, what cannot be measured."""
    ask = DesignEvaluator(variants=tuple(free.variant for free in space.free), recipes=space.made)
    arrays = [n for n in space.machines if n in ask.variants and ask.machine(n).integer_array is not None]
    hint = f"machines: [{HOST}], or a template overlay with format: integers; or leave out --measured"
    if other := [name for name in space.machines if name != HOST and name not in arrays]:
        why = f"{other[0]} is not this computer"
        raise DovetailError("cannot be measured", where="machines", why=why, hint=hint)
    if arrays and (why := no_simulator()):
        raise DovetailError(f"{arrays[0]} cannot be simulated", where="machines", why=why, hint=hint)
    for name in space.models:
        if as_model(name).folder is None:
            why, weights = f"the weights of {name} are not here", "a folder with weights, or leave out --measured"
            raise DovetailError("cannot be measured", where="models", why=why, hint=weights)
    for name in space.recipes:
        if ask.recipe(name).guess() is not None:
            why = f"{name} guesses: its time depends on the text"
            raise DovetailError("cannot be measured", where="recipes", why=why, hint="dovetail measure")


class Foreseen(DesignEvaluator):
    """The cost model with an order of recipes by quality, times the measured quality of each model as it is."""

    def known(self, structure: Any) -> dict[str, float]:
        """Metrics that hold whatever the columns are."""
        found = super().known(structure)
        base = self.qualities.get((structure.model, "none"))
        if base is None or "perplexity" in found:
            return found
        order = quality_order(as_model(structure.model), self.recipe(structure.recipe))
        return found | {"perplexity": base.perplexity * order}

    def _quality(self, structure: Any, kinds: dict[str, str]) -> dict[str, Any]:
        return super()._quality(structure, kinds) | self.known(structure)


def _content(name: str) -> str:
    from dovetail.runtime.checkpoint import Checkpoint

    folder = as_model(name).folder
    return name if folder is None else Checkpoint.open(folder).content()


class Measuring:
    """An evaluator whose designs that fit are measured; use as a context manager, which holds models on disk."""

    def __init__(self, space: Space, quality: bool, speed: bool, report: Report, seconds: float) -> None:
        self.quality, self.speed, self.report, self.models = quality, speed, report, space.models
        named = {o.metric for o in space.objectives} | {c.metric for c in space.constraints}
        variants = tuple(free.variant for free in space.free)
        made = {v.name for v in variants}
        machines = {name: load_machine(name) for name in space.machines if name not in made}
        self.model = DesignEvaluator({}, machines, variants, space.made)
        self.timer = Timer(bool(named & set(_OF_BOTH)), seconds, report)
        self.fingerprint = digest([self.model.fingerprint, [_content(name) for name in space.models], quality, speed])

    def __enter__(self) -> Measuring:
        self.timer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.timer.__exit__(kind, error, at)

    def foreseen(self) -> Foreseen:
        """What ranks candidates; the models as they are, are measured for it where quality is asked for."""
        same = self.model
        for name in self.models if self.quality else ():
            self._measure_quality(Structure(name, "none", next(iter(same.machines), "")))
        return Foreseen(same.qualities, same.machines, tuple(same.variants.values()), same.recipes)

    def known(self, structure: Structure) -> dict[str, float]:
        """The quality of a structure, measured now: what relative constraints compare with."""
        if not self.quality:
            return self.model.known(structure)
        return {"perplexity": self._measure_quality(structure).perplexity}

    def __call__(self, structure: Structure, columns: Columns) -> dict[str, Any]:
        """The cost model's metrics, those that are measured in their place."""
        found = self.model(structure, columns)
        fits = np.flatnonzero(found["feasible"])
        if self.quality and len(fits) and self._name(structure) not in self.model.qualities:
            self._measure_quality(structure)
            found = self.model(structure, columns)
        if self.speed:
            self._put_times(structure, columns, found, fits)
        return found | self._label(structure, found["kinds"])

    def _label(self, structure: Structure, kinds: Mapping[str, str]) -> dict[str, Any]:
        """Where the numbers of a structure come from, also where its first rows do not fit."""
        array = self._on_array(structure)
        clocked = ("tpot", *(("ttft", "e2e", "throughput") if self.timer.prefill else ()))
        found = {**kinds, **({"perplexity": "measured"} if self.quality else {})}
        if not self.speed:
            return {"kinds": found}
        measured = {} if array else dict.fromkeys(clocked, "measured")
        return {"kinds": {**found, **measured}, "source": SIMULATED if array else HERE}

    def _put_times(
        self, structure: Structure, columns: Columns, found: dict[str, Any], fits: NDArray[np.int64]
    ) -> None:  # fmt: skip
        """Times of the rows that fit, and what follows from them."""
        rows, changed = len(columns["batch"]), ("tpot", "ttft", "e2e", "throughput", "usd_per_mtok")
        for name in (f"{metric}{side}" for metric in changed for side in ("", "_low", "_high")):
            found[name] = np.array(np.broadcast_to(found[name], rows), float)
        for row in fits:
            one = {name: values[row] for name, values in columns.items()}
            times = self._timed(structure, one)
            first = times.ttft or tuple(float(found[f"ttft{side}"][row]) for side in ("", "_low", "_high"))
            for name, value in _figures(times.tpot, first, one, found["usd_per_mtok"][row] / found["e2e"][row]).items():
                found[name][row] = value

    def _timed(self, structure: Structure, one: Mapping[str, Any]) -> Times:
        model, plan = as_model(structure.model), Plan(structure.tp, structure.pp or 1)
        machine = self.model.machine(structure.machine, plan, one)
        work = Workload(prompt=int(one["prompt"]), output=int(one["output"]), batch=int(one["batch"]))
        return self.timer(model, machine, self.model.recipe(structure.recipe), work)

    def _on_array(self, structure: Structure) -> bool:
        variant = self.model.variants.get(structure.machine)
        return variant is not None and variant.machine().integer_array is not None

    def _name(self, structure: Structure) -> tuple[str, str]:
        """What the quality of a structure is kept as: integers compute another one."""
        whole = self._on_array(structure) and bool(integers_of(self.model.recipe(structure.recipe)))
        return structure.model, in_integers(structure.recipe) if whole else structure.recipe

    def _measure_quality(self, structure: Structure) -> Quality:
        name, recipe = self._name(structure), structure.recipe
        if name in self.model.qualities:
            return self.model.qualities[name]
        model, how = as_model(structure.model), self.model.recipe(recipe)
        if model.folder is None:
            raise DovetailError(f"perplexity of {model.name} cannot be measured", why="its weights are not here")
        if name[1] != recipe:
            found = integer_quality(model.folder, integers_of(how), report=self.report)
        else:
            applied = self.timer.path(model, how) if self.speed and how.methods else None
            how = self.model.recipes.get(recipe, recipe)
            found = measured_quality(model.folder, how, applied=applied, report=self.report)
        self.model.qualities[name] = found
        return found


def _figures(tpot: Ends, ttft: Sequence[float], one: Mapping[str, Any], usd_per_s: float) -> dict[str, float]:
    """Metrics of a design from its times."""
    found: dict[str, float] = {}
    tokens, later = float(one["batch"] * one["output"]), float(one["output"]) - 1
    for i, (side, other) in enumerate((("", ""), ("_low", "_high"), ("_high", "_low"))):
        e2e = ttft[i] + later * tpot[i]
        found |= {f"tpot{side}": tpot[i], f"ttft{side}": ttft[i], f"e2e{side}": e2e}
        found |= {f"usd_per_mtok{side}": usd_per_s * e2e, f"throughput{other}": tokens / e2e}
    return found
