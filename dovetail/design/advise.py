"""`advise`: which recipe pays from which batch and context on, and until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError, did_you_mean
from dovetail.design.advice import BASELINE, Advice, Option, same
from dovetail.design.estimate import estimate
from dovetail.design.feasibility import largest_batch, without_kernel
from dovetail.design.points import metrics, steps
from dovetail.design.ratio import Priced, Ratio, ratio
from dovetail.design.resolve import Plan, as_machine, as_model, as_recipe
from dovetail.design.trust import trust
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

METRICS = ("tpot", "throughput", "ttft", "usd_per_mtok", "energy_per_token")
CONTEXTS = (512, 2048, 8192, 32768)
_EVERY = 512  # batches up to which every whole one is priced; beyond, so many, evenly on a logarithmic axis
_LARGEST = 16384  # the largest batch that is looked for


def advise(
    model: Model | str,
    on: Machine | str,
    *,
    batch: tuple[int, int] = (1, 256),
    prompt: Sequence[int] = CONTEXTS,
    output: int = 128,
    recipes: Sequence[Recipe | str] = (),
    by: str = "tpot",
    plan: Plan | None = None,
) -> Advice:
    """Which recipe pays from which batch and context on, and until when.

    Parameters
    ----------
    model, on : Model or str, Machine or str
        As for `estimate`.
    batch : (int, int)
        First and last batch that is asked about; every whole one between is priced, up to 512 of them.
    prompt : sequence of int
        Contexts: tokens of each prompt. Those that the model's context does not hold are left out.
    output : int
        Tokens generated for each request.
    recipes : sequence of Recipe or str
        By default the built-in ones; of those that run alike, and differ in quality alone, the first.
    by : str
        The metric that decides: ``tpot``, ``throughput``, ``ttft``, ``usd_per_mtok`` or ``energy_per_token``.

    Raises
    ------
    DovetailError
        Unknown names, a range that is empty, a context longer than the model's, arithmetic that the machine lacks.
    """
    found, chip, layout = as_model(model), as_machine(on), plan or Plan()
    if by not in METRICS:
        raise DovetailError(f"unknown metric '{by}'", where="by", hint=did_you_mean(by, list(METRICS)))
    contexts = tuple(sorted({int(c) for c in prompt if c + output <= found.max_context}))
    if not contexts:
        raise DovetailError(
            f"no context of {', '.join(map(str, prompt))} + {output} tokens fits {found.name}", where="prompt",
            hint=f"up to {found.max_context - output:,} tokens", exit_code=INFEASIBLE,
        )  # fmt: skip
    batches = _batches(*batch)
    asked = {recipe.name: recipe for recipe in (as_recipe(name) for name in recipes or _distinct(found))}
    priced, excluded = _all_priced(found, chip, asked, layout, (batches, contexts, output), strict=bool(recipes))
    base, known = priced[BASELINE], {BASELINE: as_recipe(BASELINE), **asked}
    options = [option for p in priced.values() for option in _options(p, base, batches, contexts, by)]
    fitted = tuple(
        replace(o, largest_batch=_fits(found, chip, layout, known[o.recipe], o.context, output)) for o in options
    )
    fits = any(np.isfinite(o.value).any() for o in fitted)
    why = () if fits else _why(found, chip, layout, contexts, batches, output)
    return Advice(
        found, chip, by, output, batches, contexts, fitted, excluded, base.trust.factor(by), base.trust.kind(by),
        _all_never(priced, chip, fitted, by), tuple(sorted({int(c) for c in prompt} - {*contexts})), why,
    )  # fmt: skip


def _all_priced(
    model: Model, chip: Machine, recipes: Mapping[str, Recipe], plan: Plan,
    points: tuple[np.ndarray, tuple[int, ...], int], *, strict: bool,
) -> tuple[dict[str, Priced], dict[str, str]]:  # fmt: skip
    """No recipe and each of `recipes` at every batch and context, and why some cannot be priced here.

    `strict`: one that the user named and that is wrong in itself is an error.
    """
    batches, contexts, output = points
    each, lengths = (a.ravel() for a in np.meshgrid(batches, np.asarray(contexts), indexing="xy"))
    work = Workload(prompt=lengths, output=output, batch=each)
    priced, excluded = {BASELINE: _priced(model, chip, as_recipe(BASELINE), plan, work)}, dict[str, str]()
    for name, recipe in recipes.items():
        try:
            priced[name] = _priced(model, chip, _running(model, chip, recipe), plan, work)
        except DovetailError as error:
            if strict and error.exit_code != INFEASIBLE:
                raise
            excluded[name] = error.what
    return priced, excluded


def _all_never(priced: Mapping[str, Priced], chip: Machine, options: Sequence[Option], by: str) -> dict[str, str]:
    """Why some recipes change nothing anywhere."""
    own = {name: [option for option in options if option.recipe == name] for name in priced if name != BASELINE}
    return {name: _why_never(priced[name], chip, some, by) for name, some in own.items() if _never(some, by)}


def _distinct(model: Model) -> list[str]:
    """Built-in recipes, one of each that leave the same graph.

    Those that guess tokens, or cut the cache, pay by the text as much as by the machine: they are compared where they
    are named.
    """
    graph, seen, found = model.graph(), list[Graph](), list[str]()
    for name in (name for name in Recipe.names() if Recipe.load(name).of_weights() == Recipe.load(name)):
        try:
            changed = Recipe.load(name).rewrite(graph)
        except DovetailError:
            found.append(name)  # the reason is told where it is priced
            continue
        if name != BASELINE and changed not in seen:
            found.append(name)
            seen.append(changed)
    return found


def _never(options: Sequence[Option], by: str) -> bool:
    """Whether a recipe can be compared somewhere and may pay nowhere, nor fits where nothing else does."""
    compared = any(np.isfinite(o.ratios[by].value).any() for o in options)
    alone = any((np.isfinite(o.value) & np.isnan(o.ratios[by].value)).any() for o in options)
    return compared and not alone and not any(o.pays(by) or o.may_pay(by) for o in options)


def _why_never(priced: Priced, machine: Machine, options: Sequence[Option], by: str) -> str:
    if not all(same(ratio) for o in options for ratio in o.ratios.values()):
        best = max((o for o in options), key=lambda o: float(np.nanmax(o.ratios[by].value, initial=-np.inf)))
        row = int(np.nanargmax(best.ratios[by].value))
        return f"{best.ratios[by].value[row]:.2f}x at best, at batch {best.batch[row]:,} and {best.context:,} tokens"
    if machine.stack.unpacks and not machine.stack.packed_weights and _quantised(priced):
        return f"1.00x everywhere: {machine.stack.name} unpacks the weights when it loads them"
    patterns = {w.format.pattern for w, _ in priced.steps.decode_graph.weights() if w.format.density < 1.0}
    if not patterns:
        return "1.00x everywhere: the same bytes and the same kernels"
    zeros = " and ".join(sorted(patterns))
    return f"1.00x everywhere: its {zeros} zeros are stored and multiplied, {machine.stack.name} has no kernel for them"


def _quantised(priced: Priced) -> bool:
    return any(w.format.quantised for w, _ in priced.steps.decode_graph.weights())


def _why(
    model: Model, machine: Machine, plan: Plan, contexts: Sequence[int], batches: np.ndarray, output: int
) -> tuple[str, ...]:
    """What binds where not even the smallest design that is asked about fits, by any recipe."""
    work = Workload(prompt=contexts[0], output=output, batch=int(batches[0]))
    return tuple(estimate(model, machine, work, BASELINE, plan).why)


def _batches(first: int, last: int) -> np.ndarray:
    if not 1 <= first <= last:
        raise DovetailError(f"no batches from {first} to {last}", where="batch", hint="such as 1 to 256")
    if last - first < _EVERY:
        return np.arange(first, last + 1)
    return np.unique(np.round(np.geomspace(first, last, _EVERY)).astype(np.int64))


def _running(model: Model, machine: Machine, recipe: Recipe) -> Recipe:
    """The recipe, where the machine's software runs what it makes of the model."""
    lacking = without_kernel(recipe.rewrite(model.graph()), machine)
    if lacking is not None:
        raise DovetailError(
            f"{machine.stack.name} has no kernel for {lacking.what} on {machine.name}", exit_code=INFEASIBLE
        )
    return recipe


def _priced(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload) -> Priced:
    both = steps(model, machine, recipe, plan, work, detail=True)
    known = trust(both.decode_graph, machine, plan.group(machine, model))
    return Priced(recipe.name, metrics(model, machine, recipe, plan, work, both), both, known, work.decode_steps)


def _options(
    priced: Priced, base: Priced, batches: np.ndarray, contexts: tuple[int, ...], by: str
) -> list[Option]:  # fmt: skip
    shape = (len(contexts), batches.size)

    def rows(column: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(column), shape[0] * shape[1]).reshape(shape)

    found = {metric: ratio(metric, base, priced) for metric in METRICS}
    cut = {metric: [rows(getattr(r, f)) for f in ("value", "low", "high")] for metric, r in found.items()}
    value = rows(priced.value(by))
    return [
        Option(
            priced.recipe,
            context,
            batches,
            value[i],
            {m: Ratio(cut[m][0][i], cut[m][1][i], cut[m][2][i], found[m].kind) for m in cut},
            0,
        )
        for i, context in enumerate(contexts)
    ]


def _fits(model: Model, machine: Machine, plan: Plan, recipe: Recipe, context: int, output: int) -> int:
    work = Workload(prompt=context, output=output, batch=_LARGEST)
    return largest_batch(model, machine, recipe, plan, work)
