"""Search a space by the cost model, with quality measured where the model runs here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.design.estimate import estimate
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.quality import measured_quality
from dovetail.design.speculation import Speculation
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.perplexity import Quality
from dovetail.search.exact import search
from dovetail.search.result import Candidate, Result
from dovetail.search.space import Space
from dovetail.search.study import Study
from dovetail.workload import Workload

Report = Callable[[str], None]


def search_space(
    source: Path | str | Space, study: Path | None = None, report: Report = lambda line: None, **changes: Any
) -> Result:
    """The exact front of a space in YAML (or a `Space`), evaluated by the cost model.

    Perplexity is measured on this machine for every (model, recipe) when an objective or constraint names it; the
    figures are kept by content, so that a second search does not measure again.

    Parameters
    ----------
    study : Path
        SQLite file that keeps finished work; the search resumes from it.
    changes
        Keys that replace the file's: ``objectives=["tpot"]``.

    Raises
    ------
    DovetailError
        A space that cannot be read, or perplexity asked for a model without weights here.
    """
    space = source if isinstance(source, Space) else Space.load(source, **changes)
    qualities = _qualities(space, report) if _needs_quality(space) else {}
    evaluate = DesignEvaluator(qualities, {name: load_machine(name) for name in space.machines})
    if study is None:
        return search(space, evaluate)
    with Study(study) as kept:
        return search(space, evaluate, kept)


def _needs_quality(space: Space) -> bool:
    named = {o.metric for o in space.objectives} | {c.metric for c in space.constraints}
    return "perplexity" in named


def _qualities(space: Space, report: Report) -> dict[tuple[str, str], Quality]:
    found: dict[tuple[str, str], Quality] = {}
    for name in space.models:
        model = Model.load(name)
        if model.folder is None:
            raise DovetailError(
                f"perplexity of {name} cannot be measured: its weights are not here",
                where="objectives",
                hint="give a folder with weights, or leave perplexity out of objectives and constraints",
            )
        for recipe in dict.fromkeys((space.reference, *space.recipes)):
            found[name, recipe] = measured_quality(model.folder, recipe, report=report)
    return found


def guessing(found: Result) -> tuple[Candidate, Speculation] | None:
    """Where speculation pays, for the winner, or else the first design of the front whose recipe guesses."""
    for candidate in (found.winner, *found.front):
        if candidate is None or Recipe.load(candidate.structure.recipe).guess() is None:
            continue
        s = candidate.structure
        prompt, output, batch = (int(float(candidate[k])) for k in ("prompt", "output", "batch"))
        about = estimate(s.model, s.machine, Workload(prompt, output, batch), s.recipe).speculation()
        return (candidate, about) if about is not None else None
    return None
