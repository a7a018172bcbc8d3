"""Speed of a model before and after a recipe: measured here beside predicted, and predicted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.quantity import Quantity
from dovetail.design.advice import Advice, Option
from dovetail.design.advise import advise
from dovetail.design.estimate import MODEL
from dovetail.design.measure import as_run
from dovetail.design.resolve import as_machine
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.speed import Speed, decode_speed, prefill_speed

ELSEWHERE = ("h100-sxm", "l40s")  # where speed is predicted unless machines are named
CONTEXT = 512  # tokens that decode looks back on, and of a prefill
_BATCHES = (1, 256)
_ROUNDS, _SECONDS = 3, 0.25  # of each measurement

Report = Callable[[str], None]


def speed_here(
    model: Model, recipe: Recipe, before: Path, after: Path, report: Report = lambda line: None
) -> list[dict[str, Any]]:
    """Decode and prefill at batch 1 on this computer, measured before and after, beside the predicted ratio.

    Returns
    -------
    list of dict
        ``metric, batch, context, before, after, ratio, kernels`` (of the changed model, as `Loaded.arithmetic`) and
        ``predicted`` (the ratio with its interval, or null).

    Raises
    ------
    DovetailError
        A model does not fit in memory (exit code 3).
    """
    report("measuring speed before and after")
    context = min(CONTEXT, model.max_context // 2)
    original, changed = load(before), load(after, kernels="auto")
    expected = _advice(model, _as_it_runs(changed.arithmetic), recipe, context)
    return [
        {
            "metric": metric, "batch": 1, "context": context, "kernels": changed.arithmetic,
            **_in_turns(measure, original, changed, context), "predicted": _ratio(expected, recipe, time),
        }
        for metric, measure, time in (("decode", decode_speed, "tpot"), ("prefill", prefill_speed, "ttft"))
    ]  # fmt: skip


def _as_it_runs(arithmetic: str) -> Machine | None:
    """This computer as it multiplies here; None where its calibration is older than its kernels for packed weights."""
    machine = as_machine("host")
    return None if machine.packed is None and arithmetic != "dense" else as_run(machine, arithmetic)


def _in_turns(measure: Callable[..., Speed], original: Loaded, changed: Loaded, context: int) -> dict[str, Any]:
    """Both speeds and their ratio, the median of rounds in which both take their turn: a busy moment meets both."""
    rounds = [[measure(loaded, context, budget_s=_SECONDS) for loaded in (original, changed)] for _ in range(_ROUNDS)]
    one, two = sorted(rounds, key=lambda pair: pair[1].tokens_per_s / pair[0].tokens_per_s)[_ROUNDS // 2]
    return {"before": _quantity(one), "after": _quantity(two), "ratio": two.tokens_per_s / one.tokens_per_s}


def _quantity(speed: Speed) -> dict[str, Any]:
    source = f"{speed.repeats} repeats, {speed.threads} threads, median and quartiles"
    return Quantity(speed.tokens_per_s, speed.low, speed.high, "tok/s", "measured", source).to_json()


def where_it_pays(model: Model, recipe: Recipe, machines: Sequence[str]) -> list[dict[str, Any]]:
    """The recipe against none on each machine: the ratio of time per token at batch 1, and from which batch it stops.

    Returns
    -------
    list of dict
        ``machine, context, tpot_before, tpot_after, ratio, surely_until, stops_at, verdict``; where the recipe does not
        run, its ratio is null and the verdict says why.
    """
    context = min(CONTEXT, model.max_context // 2)
    return [_row(model, machine, recipe, context) for machine in machines] if recipe.methods else []


def _row(model: Model, machine: str, recipe: Recipe, context: int) -> dict[str, Any]:
    found = _advice(model, machine, recipe, context)
    option = _option(found, recipe)
    if isinstance(found, str) or option is None:
        why = found if isinstance(found, str) else found.excluded.get(recipe.name, "; ".join(found.why))
        return {"machine": machine, "context": context, "ratio": None, "surely_until": None, "stops_at": None,
                "verdict": why}  # fmt: skip
    gain = option.gain("tpot")
    return {
        "machine": machine, "context": context, "ratio": _ratio(found, recipe, "tpot"),
        "surely_until": gain.surely_until(), "stops_at": gain.stops_at(), "verdict": _verdict(found, option),
    }  # fmt: skip


def _verdict(found: Advice, option: Option) -> str:
    """From which batch the method stops paying, in words."""
    last = _BATCHES[1]
    if never := found.never.get(option.recipe):
        return f"never pays: {never}"
    until, stops = option.gain("tpot").surely_until(), option.gain("tpot").stops_at()
    if until is None:
        return "too close to call at batch 1"
    return f"surely pays up to batch {until:,}; " + (
        f"stops paying at batch {stops:,}" if stops else f"still ahead at batch {last:,}"
    )


def _advice(model: Model, machine: Machine | str | None, recipe: Recipe, context: int) -> Advice | str:
    """Advice on one recipe; where the model cannot be priced there at all, why."""
    if machine is None:
        return "'dovetail calibrate --host' measures packed products"
    try:
        return advise(model, machine, batch=_BATCHES, prompt=[context], output=2, recipes=[recipe])
    except DovetailError as error:
        if error.exit_code != INFEASIBLE:
            raise
        return error.what


def _option(found: Advice | str, recipe: Recipe) -> Option | None:
    if isinstance(found, str) or not found.feasible:
        return None
    return next((option for option in found.options if option.recipe == recipe.name), None)


def _ratio(found: Advice | str, recipe: Recipe, metric: str) -> dict[str, Any] | None:
    """How many times faster at batch 1, with its interval; None where it cannot be compared."""
    option = _option(found, recipe)
    if option is None or isinstance(found, str):
        return None
    at = option.ratios[metric]
    value, low, high = (float(column[0]) for column in (at.value, at.low, at.high))
    if value != value:  # no design without the recipe fits
        return None
    return Quantity(value, low, high, "x", at.kind, f"{MODEL}, {found.machine.name}").to_json()
