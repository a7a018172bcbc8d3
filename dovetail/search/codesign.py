"""Search a space by the cost model, with quality measured where the model runs here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.design.buildable import integers_of
from dovetail.design.evaluator import DesignEvaluator, in_integers
from dovetail.design.quality import integer_quality, measured_quality
from dovetail.design.speculation import Speculation
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.perplexity import Quality
from dovetail.search.chosen import design_of
from dovetail.search.dear import dear_search
from dovetail.search.exact import search
from dovetail.search.guided import guided
from dovetail.search.result import Candidate, Result
from dovetail.search.scattered import Ray, scattered
from dovetail.search.settled import Settled
from dovetail.search.space import MAX_POINTS, Space
from dovetail.search.study import Study
from dovetail.search.why_not import WhyNot, why_not

Report = Callable[[str], None]
RATIO = "perplexity_ratio"


def search_space(
    source: Path | str | Space, study: Path | None = None, report: Report = lambda line: None, *,
    evaluations: int = 0, sampler: str = "auto", seed: int = 0, ray: str = "", stop: bool = True,
    measured: bool = False, **changes: Any,
) -> Result:  # fmt: skip
    """The exact front of a space in YAML (or a `Space`), evaluated by the cost model; or a sampled one.

    Perplexity is measured on this machine when an objective or constraint names it: for every (model, recipe), of a
    guided search for those that it looks at. The figures are kept by content, so that a second search does not measure
    again. Of a model without weights here it is forecast, as a ratio to the model as it is.

    Parameters
    ----------
    study : Path
        SQLite file that keeps finished work; the search resumes from it.
    evaluations : int
        Above 0: so many designs are looked at by a guided search (`search.guided`), and not all.
    sampler, seed : str, int
        Of a guided search.
    ray : str
        Address of a Ray cluster whose tasks make the blocks of an exact search.
    stop : bool
        A guided search ends early where nothing that it still finds is certainly new, by the intervals of objectives.
    measured : bool
        A guided search measures the times of each design that it looks at, too (`search.dear`).
    changes
        Keys that replace the file's: ``objectives=["tpot"]``.

    Raises
    ------
    DovetailError
        A space that cannot be read, or perplexity of several models without weights here.
    """
    most = 2**62 if evaluations else MAX_POINTS
    space = with_forecasts(source if isinstance(source, Space) else Space.load(source, most, **changes))
    if ray and evaluations:
        raise DovetailError("--ray spreads an exact search", hint="leave out --guided, or --ray")
    if measured and not evaluations:
        raise DovetailError("--measured measures what a guided search looks at", hint="--guided 40 --measured")

    def run(kept: Study | None) -> Result:
        if evaluations and (measured or needs_quality(space)):
            return dear_search(
                space, evaluations, quality=needs_quality(space), speed=measured, sampler=sampler, seed=seed,
                stop=stop, study=kept, report=report,
            )  # fmt: skip
        evaluate = evaluator(space, report)
        if evaluations:
            enough = Settled(space.objectives) if stop else None
            return guided(space, evaluate, evaluations, sampler=sampler, seed=seed, study=kept, enough=enough)
        return search(space, evaluate, kept, spread=scattered(Ray(ray)) if ray else None)

    if study is None:
        return run(None)
    with Study(study) as kept:
        return run(kept)


def explain_why_not(source: Path | str, design: str, report: Report = lambda line: None) -> WhyNot:
    """Why a design of a space in YAML is not on its front. Raises `DovetailError` as `search_space` and `why_not`."""
    space = with_forecasts(Space.load(source))
    evaluate = evaluator(space, report)
    return why_not(space, evaluate, search(space, evaluate), design)


def evaluator(space: Space, report: Report = lambda line: None) -> DesignEvaluator:
    """The cost model for the names of a space; perplexity is measured first where the space asks for it.

    Raises
    ------
    DovetailError
        A machine or recipe that is unknown, or perplexity asked for a model without weights here.
    """
    variants = tuple(free.variant for free in space.free)
    named = {v.name for v in variants}
    machines = {name: load_machine(name) for name in space.machines if name not in named}
    for variant in variants:
        variant.machine()
    qualities = _qualities(space, report) if needs_quality(space) else {}
    return DesignEvaluator(qualities, machines, variants, space.made)


def with_forecasts(space: Space) -> Space:
    """The space with perplexity as a ratio to the model as it is, where weights of a model are not here.

    Raises
    ------
    DovetailError
        Perplexity itself is asked of such a model: a bound that is not relative, or a comparison of several models.
    """
    if not needs_quality(space) or all(Model.load(name).folder is not None for name in space.models):
        return space
    absolute = next((c for c in space.constraints if c.metric == "perplexity" and not c.relative), None)
    asked = any(o.metric == "perplexity" for o in space.objectives)
    if absolute or space.reference != "none" or (asked and len(space.models) > 1):
        name = next(name for name in space.models if Model.load(name).folder is None)
        raise DovetailError(
            f"perplexity of {name} cannot be measured: its weights are not here",
            where="constraints" if absolute else "objectives",
            why="a forecast is a ratio to the model as it is, which says nothing of another model",
            hint="perplexity < 1.01x, perplexity_ratio as the objective, or a folder with weights",
        )
    rules = (replace(c, metric=RATIO, relative=False) if c.metric == "perplexity" else c for c in space.constraints)
    goals = tuple(replace(o, metric=RATIO) if o.metric == "perplexity" else o for o in space.objectives)
    best = space.pick.objective
    pick = replace(space.pick, objective=replace(best, metric=RATIO)) if best and best.metric == "perplexity" else None
    return replace(space, constraints=tuple(rules), objectives=goals, pick=pick or space.pick)


def needs_quality(space: Space) -> bool:
    """Whether perplexity is asked for, which is measured where the weights are here."""
    named = {o.metric for o in space.objectives} | {c.metric for c in space.constraints}
    return "perplexity" in named


def _qualities(space: Space, report: Report) -> dict[tuple[str, str], Quality]:
    found: dict[tuple[str, str], Quality] = {}
    on_arrays = any(free.variant.machine().integer_array is not None for free in space.free)
    for name in space.models:
        model = Model.load(name)
        if model.folder is None:
            raise DovetailError(
                f"perplexity of {name} cannot be measured: its weights are not here", where="objectives"
            )
        for recipe in dict.fromkeys((space.reference, *space.recipes)):
            found[name, recipe] = measured_quality(model.folder, space.made.get(recipe, recipe), report=report)
        for recipe in space.recipes if on_arrays else ():
            if integers := integers_of(Recipe.load(space.made.get(recipe, recipe))):
                found[name, in_integers(recipe)] = integer_quality(model.folder, integers, report=report)
    return found


def guessing(found: Result) -> tuple[Candidate, Speculation] | None:
    """Where speculation pays, for the winner, or else the first design of the front whose recipe guesses."""
    for candidate in (found.winner, *found.front):
        if candidate is None or found.asked is None:
            continue
        design = design_of(found.asked, candidate)
        if design.recipe.guess() is None:
            continue
        about = design.estimate().speculation()
        return (candidate, about) if about is not None else None
    return None
