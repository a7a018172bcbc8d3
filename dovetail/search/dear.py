"""A guided search whose designs are measured here: quality for each recipe that it looks at, and speed if asked for.

The cost model and published tables rank candidates, put right by each measurement; their front is where it begins.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.content import digest
from dovetail.core.errors import DovetailError
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.quality import measured_quality
from dovetail.design.quality_forecast import quality_order
from dovetail.design.resolve import as_model
from dovetail.hardware import load_machine
from dovetail.runtime.perplexity import Quality
from dovetail.search.corrected import Corrected
from dovetail.search.guided import BATCH, guided
from dovetail.search.measuring import HOST
from dovetail.search.result import Result
from dovetail.search.settled import Settled
from dovetail.search.space import Space, Structure
from dovetail.search.warm import warm_start
from dovetail.workload import Workload

if TYPE_CHECKING:
    from dovetail.runtime.load import Loaded
    from dovetail.search.study import Study

SECONDS = 0.5  # of decode, and of prefill, for each design
_KEPT = 3  # models that a recipe was applied to, on disk at once
_OF_BOTH = ("ttft", "e2e", "throughput", "usd_per_mtok")  # what prefill is measured for
Report = Callable[[str], None]
Columns = Mapping[str, NDArray[np.float64]]
Ends = tuple[float, float, float]  # a value, its low and its high


def dear_search(
    space: Space, budget: int, *, quality: bool, speed: bool, sampler: str = "auto", seed: int = 0,
    stop: bool = True, study: Study | None = None, report: Report = lambda line: None, seconds: float = SECONDS,
) -> Result:  # fmt: skip
    """The best front that `budget` designs find of which each is measured on this computer.

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
        With `speed`: a machine that is not this computer, weights that are not here, a recipe that guesses.
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
    ask, hint = DesignEvaluator(recipes=space.made), f"machines: [{HOST}], or leave out --measured"
    if other := [name for name in space.machines if name != HOST]:
        raise DovetailError("cannot be measured", where="machines", why=f"{other[0]} is not this computer", hint=hint)
    for name in space.models:
        if as_model(name).folder is None:
            raise DovetailError("cannot be measured", where="models", why=f"the weights of {name} are not here")
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
    """An evaluator whose designs that fit are measured here; use as a context manager, which holds models on disk."""

    def __init__(self, space: Space, quality: bool, speed: bool, report: Report, seconds: float) -> None:
        self.quality, self.speed, self.report, self.seconds = quality, speed, report, seconds
        named = {o.metric for o in space.objectives} | {c.metric for c in space.constraints}
        self.prefill = bool(named & set(_OF_BOTH))
        variants = tuple(free.variant for free in space.free)
        made = {v.name for v in variants}
        machines = {name: load_machine(name) for name in space.machines if name not in made}
        self.model = DesignEvaluator({}, machines, variants, space.made)
        self.names = space.models
        self.fingerprint = digest([self.model.fingerprint, [_content(name) for name in self.names], quality, speed])
        self.times: dict[tuple[Any, ...], tuple[Ends, Ends | None]] = {}
        self._applied: OrderedDict[tuple[str, str], Path] = OrderedDict()
        self._loaded: tuple[tuple[str, str], Loaded] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Measuring:
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="dovetail-")))
        return self

    def __exit__(self, *error: object) -> None:
        self._loaded = None
        self._stack.close()

    def foreseen(self) -> Foreseen:
        """What ranks candidates; the models as they are, are measured for it where quality is asked for."""
        if self.quality:
            for name in self.names:
                self._measure_quality(name, "none")
        same = self.model
        return Foreseen(same.qualities, same.machines, tuple(same.variants.values()), same.recipes)

    def known(self, structure: Structure) -> dict[str, float]:
        """The quality of a structure, measured now: what relative constraints compare with."""
        if not self.quality:
            return self.model.known(structure)
        return {"perplexity": self._measure_quality(structure.model, structure.recipe).perplexity}

    def __call__(self, structure: Structure, columns: Columns) -> dict[str, Any]:
        """The cost model's metrics, those that are measured in their place."""
        found = self.model(structure, columns)
        fits = np.flatnonzero(found["feasible"])
        if self.quality and len(fits) and (structure.model, structure.recipe) not in self.model.qualities:
            self._measure_quality(structure.model, structure.recipe)
            found = self.model(structure, columns)
        if self.speed and len(fits):
            self._put_times(structure, columns, found, fits)
        return found

    def _put_times(
        self, structure: Structure, columns: Columns, found: dict[str, Any], fits: NDArray[np.int64]
    ) -> None:  # fmt: skip
        names = ("tpot", "ttft", "e2e", "throughput", "usd_per_mtok") if self.prefill else ("tpot",)
        for name in names:
            for each in (name, f"{name}_low", f"{name}_high"):
                found[each] = np.array(np.broadcast_to(found[each], len(columns["batch"])), float)
        for row in fits:
            batch, prompt, output = (int(columns[name][row]) for name in ("batch", "prompt", "output"))
            tpot, ttft = self._timed(structure, Workload(prompt=prompt, output=output, batch=batch))
            hourly = found["usd_per_mtok"][row] / found["e2e"][row] if self.prefill else 0.0
            for place, side in enumerate(("", "_low", "_high")):
                found[f"tpot{side}"][row] = tpot[place]
                if ttft is None:
                    continue
                e2e = ttft[place] + (output - 1) * tpot[place]
                found[f"ttft{side}"][row], found[f"e2e{side}"][row] = ttft[place], e2e
                found[f"usd_per_mtok{side}"][row] = hourly * e2e
                found[f"throughput{('', '_high', '_low')[place]}"][row] = batch * output / e2e
        measured = [name for name in names if name != "usd_per_mtok"]
        found["kinds"] = {**found["kinds"], **dict.fromkeys(measured, "measured")}
        found["source"] = f"{found['source']}; measured on this computer"

    def _timed(self, structure: Structure, work: Workload) -> tuple[Ends, Ends | None]:
        from dovetail.runtime.speed import decode_speed, prefill_speed

        key = (structure.model, structure.recipe, int(work.batch), int(work.prompt), int(work.output))
        if key not in self.times:
            loaded, batch = self._load(structure), int(work.batch)
            self.report(f"measuring {structure.recipe} at batch {batch}, prompt {key[3]}, output {key[4]}")
            decode = decode_speed(loaded, int(work.mean_context), batch=batch, budget_s=self.seconds)
            tpot = tuple(batch / v for v in (decode.tokens_per_s, decode.high, decode.low))
            ttft = None
            if self.prefill:
                read = prefill_speed(loaded, int(work.prompt), batch=batch, budget_s=self.seconds)
                ttft = tuple(batch * int(work.prompt) / v for v in (read.tokens_per_s, read.high, read.low))
            self.times[key] = (tpot, ttft)  # type: ignore[assignment]
        return self.times[key]

    def _measure_quality(self, model: str, recipe: str) -> Quality:
        if (model, recipe) not in self.model.qualities:
            folder = as_model(model).folder
            if folder is None:
                raise DovetailError(f"perplexity of {model} cannot be measured", why="its weights are not here")
            how = self.model.recipes.get(recipe, recipe)
            applied = self._path(model, recipe) if self.speed and self.model.recipe(recipe).methods else None
            found = measured_quality(folder, how, applied=applied, report=self.report)
            self.model.qualities[model, recipe] = found
        return self.model.qualities[model, recipe]

    def _load(self, structure: Structure) -> Loaded:
        from dovetail.runtime.load import load

        key = structure.model, structure.recipe
        if self._loaded is None or self._loaded[0] != key:
            self._loaded = None  # before the next one is in memory
            kernels = "dense" if self.model.machine(structure.machine).packed is None else "auto"
            self._loaded = key, load(self._path(*key), kernels=kernels)
        return self._loaded[1]

    def _path(self, model: str, recipe: str) -> Path:
        """The model with the recipe applied; the few that were used last stay on disk."""
        how, folder = self.model.recipe(recipe), as_model(model).folder
        if folder is None:
            raise DovetailError(f"{model} cannot be measured", why="its weights are not here")
        if not how.methods:
            return folder
        key = model, recipe
        if key not in self._applied:
            while len(self._applied) >= _KEPT:
                shutil.rmtree(self._applied.popitem(last=False)[1], ignore_errors=True)
            target = self._folder / digest([model, recipe])[:16]
            self._applied[key] = how.apply(folder, target, report=self.report).path
        self._applied.move_to_end(key)
        return self._applied[key]
