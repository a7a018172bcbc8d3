"""`compress` for a target: bits of layers picked, carried out, measured, saved with the recipe beside the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import emptied, whole_folder, write_text
from dovetail.core.quantity import Quantity
from dovetail.design.allocation.allocate import Allocation, allocate
from dovetail.design.allocation.prices import METRICS
from dovetail.design.allocation.target import QUALITY, UNITS, Limit, checked
from dovetail.design.compress import Check, Report, Task, kept
from dovetail.design.estimate import Estimate
from dovetail.design.export import FOLDER
from dovetail.design.points import flat
from dovetail.design.quality import measured_quality
from dovetail.design.resolve import as_machine
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.job import remove_finished
from dovetail.recipe.recipe import Recipe, work_folder
from dovetail.recipe.sensitivity import SAMPLES
from dovetail.runtime.checkpoint import RECORD
from dovetail.workload import Workload

Pick = Callable[[float], Allocation]  # of the correction of predicted losses

RECIPE = "recipe.yaml"
_ROUNDS = 3  # with the predicted loss corrected by the measured one, where quality was asked for and missed
_LEAST_CORRECTION = 1.05  # of a predicted loss that was too small
_LOSS_FACTOR = 2.0  # of a predicted rise of the log of perplexity, either way


def compress_for(
    model: Model | str,
    on: Machine | str,
    limits: Sequence[Limit],
    out: Path,
    *,
    recipe: Recipe | str | None = None,
    workload: Workload | None = None,
    calibration: Calibration | None = None,
    check: Check | None = None,
    format: str = FOLDER,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Pick the bits of every layer for `limits` on a machine, and do as `compress` does with them.

    Where quality is among the limits and the measured one misses, what was predicted is corrected by it and the bits
    are picked again.

    Parameters
    ----------
    recipe : Recipe or str
        One method whose bits are picked; GPTQ by default.
    calibration, check, format
        As for `compress`; sensitivity looks at the first sequences of the text.

    Returns
    -------
    dict
        Keys of `compress`, and ``target, machine, method, allocation, mean_bits, widths, sensitivity, predicted, met``;
        the recipe is written to ``recipe.yaml`` in the folder. ``met`` is null where quality is among the limits and
        could not be measured here.

    Raises
    ------
    DovetailError
        As `compress` and `allocate`; with exit code 3 where nothing meets the limits.
    """
    machine, limits, asked = as_machine(on), checked(limits), check or Check()
    how = Recipe.load(recipe) if recipe is not None else None
    _check_quality(limits, asked)
    task = Task.of(model, out, calibration, asked, format, report)
    relative = _relative(limits, task.folder, asked.text, report)
    sample = replace(task.calibration, samples=min(SAMPLES, task.calibration.samples))

    def pick(correction: float) -> Allocation:
        report(f"picking bits for {' and '.join(map(str, limits))} on {machine.name}")
        return allocate(
            task.model, task.folder, machine, relative, recipe=how, work=workload, calibration=sample, report=report,
            correction=correction,
        )  # fmt: skip

    works, first = [work_folder(task.out, attempt) for attempt in range(1, _ROUNDS + 1)], pick(1.0)
    with kept(works, report), whole_folder(task.out, RECORD) as part:
        done, picked = _carried_out(task, first, partial(_again, pick, works), relative, works, part)
        write_text(part / RECIPE, _yaml(picked.recipe))
    return done | _answer(picked, limits, done["perplexity_before"])


def _carried_out(
    task: Task, picked: Allocation, again: Pick, limits: Sequence[Limit], works: Sequence[Path], part: Path
) -> tuple[dict[str, Any], Allocation]:
    """Bits carried out in `part`, then others picked by what was measured of them, as often as there are `works`.

    Each attempt keeps its layers in a folder of its own until all have ended, so that a stop costs none of them.
    """
    work, *later = works
    with task.carried_out(picked.recipe, part, work, task.forecast(picked.recipe)) as made:
        met = _met(made.answer, limits)
        if met is not False or picked.loss <= 0 or not later:
            return task.finished(made, part) | {"met": met}, picked
    ratio = made.answer["perplexity_ratio"]["value"]
    task.report(f"perplexity {ratio:.4g}x is above the target: picking again")
    better = again(picked.correction * max(_LEAST_CORRECTION, math.log(ratio) / picked.loss))
    emptied(part)
    return _carried_out(task, better, again, limits, later, part)


def _again(pick: Pick, works: Sequence[Path], correction: float) -> Allocation:
    """Bits picked once more. Where there are none the same call would find so again: finished layers are of no use."""
    try:
        return pick(correction)
    except DovetailError as error:
        if error.exit_code == INFEASIBLE:
            for work in works:
                remove_finished(work)
        raise


def _met(done: Mapping[str, Any], limits: Sequence[Limit]) -> bool | None:
    """Whether the measured perplexity is within the limits, all of them relative; None where it was not measured."""
    bounds = [limit.bound for limit in limits if limit.metric == QUALITY]
    if not bounds:
        return True
    ratio = done["perplexity_ratio"]
    return None if ratio is None else bool(ratio["value"] <= min(bounds))


def _check_quality(limits: Sequence[Limit], check: Check) -> None:
    if not check.quality and any(limit.metric == QUALITY for limit in limits):
        raise DovetailError("a target on perplexity has to be measured", where="target", hint="without --no-quality")


def _relative(limits: Sequence[Limit], folder: Path, text: Path | None, report: Report) -> tuple[Limit, ...]:
    """The limits, those on quality beside that of the model as it is."""
    if all(limit.relative for limit in limits if limit.metric == QUALITY):
        return tuple(limits)
    before = measured_quality(folder, text=text, report=report).perplexity
    return tuple(
        replace(limit, bound=limit.bound / before, relative=True)
        if limit.metric == QUALITY and not limit.relative
        else limit
        for limit in limits
    )


def _yaml(recipe: Recipe) -> str:
    """The recipe as a file that `Recipe.load` reads: ``{glob: bits}`` for single layers."""
    content = recipe.to_json()
    for step, method in zip(content["methods"], recipe.methods, strict=True):
        for name in step:
            parameters: dict[str, Any] = asdict(method)  # type: ignore[call-overload]
            step[name] = parameters | {"layers": dict(parameters["layers"])}
    text: str = yaml.safe_dump(content, sort_keys=False)
    return text


def _answer(picked: Allocation, limits: Sequence[Limit], perplexity: dict[str, Any] | None) -> dict[str, Any]:
    groups, widths = picked.prices.groups, picked.prices.widths
    rows = [
        {
            "name": group.name, "operator": group.operator, "layer": group.layer, "bits": widths[pick],
            "matrices": list(group.tensors), "nats": float(picked.nats[row, pick]),
        }
        for row, (group, pick) in enumerate(zip(groups, picked.picks, strict=True))
    ]  # fmt: skip
    return {
        "target": [str(limit) for limit in limits], "machine": picked.estimate.machine.name,
        "method": picked.recipe.describe().partition("(")[0], "mean_bits": picked.mean_bits,
        "sensitivity": picked.how, "widths": list(widths), "allocation": rows,
        "predicted": _predicted(picked, perplexity),
    }  # fmt: skip


def _predicted(picked: Allocation, perplexity: dict[str, Any] | None) -> dict[str, Any]:
    """Every metric before and after, as JSON quantities, with their ratio."""
    before, after = _metrics(picked.before), _metrics(picked.estimate)
    found: dict[str, Any] = {
        name: {
            "before": before[name].to_json(), "after": after[name].to_json(),
            "ratio": after[name].value / before[name].value if before[name].value else 1.0,
        }
        for name in METRICS
    }  # fmt: skip
    ends = (math.exp(loss) for loss in (picked.loss, picked.loss / _LOSS_FACTOR, picked.loss * _LOSS_FACTOR))
    value, low, high = (ratio * (perplexity["value"] if perplexity else 1.0) for ratio in ends)
    source = f"sum of {picked.how} sensitivities" + (", corrected by a measurement" if picked.correction != 1 else "")
    quality = Quantity(value, low, high, "" if perplexity else "x", "modelled", source)
    return found | {QUALITY: {"before": perplexity, "after": quality.to_json(), "ratio": math.exp(picked.loss)}}


def _metrics(found: Estimate) -> Mapping[str, Quantity]:
    values = flat(found.metrics)
    held = found.memory()
    exact = {"memory": held["total"], "weights": held["weights"]}
    return exact | {
        name: found.quantity(float(values[name]), UNITS[name], name) for name in METRICS if name not in exact
    }
