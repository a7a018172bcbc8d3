"""`compress`: a recipe applied to real weights, with quality and speed before and after, and where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import check_apart, whole_folder, write_json, write_text
from dovetail.core.quantity import Quantity, exact
from dovetail.design.before_after import ELSEWHERE, speed_here, where_it_pays
from dovetail.design.export import FOLDER, GGUF, Exported, check_format, export, intermediate
from dovetail.design.quality import check_text, measured_change, quality_text
from dovetail.design.resolve import weights_of as weights_of
from dovetail.model import Model
from dovetail.recipe.footprint import Footprint
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.job import remove_finished
from dovetail.recipe.recipe import Applied, Recipe, work_folder
from dovetail.runtime.card import card
from dovetail.runtime.checkpoint import RECORD, Checkpoint, record
from dovetail.runtime.comparison import Comparison, Interval
from dovetail.runtime.memory import PeakMemory
from dovetail.runtime.perplexity import Quality
from dovetail.runtime.tasks import check_tasks, evaluate

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Check:
    """What `compress` measures beside the size.

    Parameters
    ----------
    text : Path or None
        Text that quality is measured on; None for held-out text of the standard library.
    quality : bool
        Perplexity, divergence from the original, top-1 agreement.
    tasks : sequence of str
        Tasks of lm-eval, by name.
    limit : int or None
        Examples of each task; None for all.
    speed : bool
        Decode and prefill on this computer.
    machines : sequence of str
        Where else to predict the speed.
    """

    text: Path | None = None
    quality: bool = True
    tasks: Sequence[str] = ()
    limit: int | None = None
    speed: bool = True
    machines: Sequence[str] = ELSEWHERE


def compress(
    model: Model | str,
    recipe: Recipe | str,
    out: Path,
    *,
    text: Path | None = None,
    calibration: Calibration | None = None,
    check: Check | None = None,
    format: str = FOLDER,
    report: Report = lambda line: None,
) -> dict[str, Any]:
    """Apply `recipe` to the weights of `model`, write a folder that `transformers` loads, measure it before and after.

    The folder appears at `out` when everything is measured; what stops before that leaves nothing there. Calibrated
    methods keep the layers that they have finished beside it, and the same call goes on from there.

    Parameters
    ----------
    text : Path
        As ``check.text``.
    calibration : Calibration
        The text of calibrated methods; see there for the default.
    format : str
        One of `export.FORMATS`. ``gguf`` writes ``model.gguf`` for llama.cpp instead, ``safetensors`` dense weights.

    Returns
    -------
    dict
        ``perplexity_before, perplexity_after, bytes_before, bytes_after, path`` and more; quantities as JSON objects.
        What could not be measured here is null, and ``quality_why`` or ``speed_why`` says why.

    Raises
    ------
    DovetailError
        Weights that are not here or broken, a recipe that does not fit the model, too little memory or disk, a text
        too short: before any work is done.
    """
    found = model if isinstance(model, Model) else Model.load(model)
    how, folder = Recipe.load(recipe), weights_of(found)
    asked = check or Check()
    asked = replace(asked, text=text or asked.text)
    out, chosen = out.expanduser(), calibration or Calibration()
    check_apart(folder, out)
    check_format(format, folder)
    expected, work = _checked(how, folder, chosen, asked, out, report), work_folder(out)
    with _kept(work, report), whole_folder(out, RECORD) as part, intermediate(format, part) as applied:
        report(f"applying {how.name} to {found.name}")
        done, peak = _applied(how, folder, applied, work, chosen, report)
        written = export(applied, part, format, found.name, report)
        seen = written.measured_on
        answer = {
            "model": found.name, "recipe": how.name, "path": str(out), "seconds": done.seconds,
            "calibration": chosen.to_json() if how.calibrated else None,
            "format": format, "file": written.file, "notes": list(written.notes), **written.details,
            **_sizes(done, written),
            "memory": {"predicted": expected.quantity().to_json(), "measured": peak},
            **_quality(folder, seen, asked, report),
            **_tasks(folder, seen, asked, report),
            **_speed(found, how, folder, None if format == GGUF else seen, asked, report),
        }  # fmt: skip
        _describe(part, answer)
    return answer


def _checked(how: Recipe, folder: Path, calibration: Calibration, asked: Check, out: Path, report: Report) -> Footprint:
    """The forecast of memory and disk, when both are there and everything that was asked can be measured."""
    expected = Footprint.of(how, Checkpoint.open(folder), calibration)
    report(f"memory: {expected.words()}")
    expected.check()
    if asked.quality:
        check_text(folder, asked.text)
    if asked.tasks:
        check_tasks(asked.tasks)
    expected.check_disk(out)
    return expected


def _sizes(done: Applied, written: Exported) -> dict[str, Any]:
    source = f"payload of {written.file}: elements and scales"
    sizes = {"bytes_before": done.bytes_before, "bytes_after": written.bytes}
    return {key: exact(size, "byte", "measured", source).to_json() for key, size in sizes.items()}


@contextmanager
def _kept(work: Path, report: Report) -> Iterator[None]:
    """Finished layers lie in `work` until the block, with all that is measured of them, has ended well."""
    try:
        yield
    except (KeyboardInterrupt, DovetailError):
        if work.exists():
            report(f"stopped: finished layers are kept in {work}, and the same command goes on from there")
        raise
    remove_finished(work)


def _applied(
    how: Recipe, folder: Path, applied: Path, work: Path, calibration: Calibration, report: Report
) -> tuple[Applied, dict[str, Any] | None]:
    """The recipe applied, and how far resident memory rose above what the imports took."""
    import torch
    import transformers

    del torch, transformers
    with PeakMemory() as peak:
        done = how.apply(folder, applied, calibration=calibration, work=work, keep=True, report=report)
    source = "high-water mark of resident memory above that after imports"
    return done, None if peak.bytes is None else exact(peak.bytes, "byte", "measured", source).to_json()


def _quality(folder: Path, part: Path, asked: Check, report: Report) -> dict[str, Any]:
    label = quality_text(asked.text)[1] if asked.quality else ""
    keys = ("perplexity_before", "perplexity_after", "perplexity_ratio", "kl", "kl_back", "top1", "arithmetic")
    empty = dict.fromkeys(keys)
    try:
        why = "" if asked.quality else "not asked for"
        found = measured_change(folder, part, text=asked.text, report=report) if asked.quality else None
    except DovetailError as error:
        if error.exit_code != INFEASIBLE:
            raise
        found, why = None, str(error)
        report(why)
    return {"text": label, "quality_why": why, **(empty if found is None else quality_json(found, label))}


def quality_json(found: Comparison, label: str) -> dict[str, Any]:
    """A comparison as JSON quantities, each with its bootstrap interval."""
    count = len(found.before.documents)
    source = f"{found.before.tokens:,} tokens of {label}, bootstrap over {count} pieces"

    def quantity(interval: Interval, unit: str) -> dict[str, Any]:
        return Quantity(*interval, unit, "measured", source).to_json()

    return {
        "perplexity_before": as_quantity(found.before, label).to_json(),
        "perplexity_after": as_quantity(found.after, label).to_json(),
        "perplexity_ratio": quantity(found.ratio, "x"),
        "kl": quantity(found.kl, "nats/token"),
        "kl_back": quantity(found.kl_back, "nats/token"),
        "top1": quantity(found.top1, ""),
        "arithmetic": found.after.arithmetic,
    }


def as_quantity(quality: Quality, label: str) -> Quantity:
    """Perplexity with its bootstrap interval."""
    low, high = quality.perplexity_interval
    return Quantity(quality.perplexity, low, high, "", "measured", f"{quality.tokens} tokens of {label}")


def _tasks(folder: Path, part: Path, asked: Check, report: Report) -> dict[str, Any]:
    if not asked.tasks:
        return {}
    rows = []
    before, after = (evaluate(path, asked.tasks, limit=asked.limit, report=report) for path in (folder, part))
    for one, two in zip(before, after, strict=True):
        rows.append({"task": one.task, "metric": one.metric, "before": one.to_json(), "after": two.to_json()})
    return {"tasks": rows}


def _speed(model: Model, how: Recipe, folder: Path, part: Path | None, asked: Check, report: Report) -> dict[str, Any]:
    """Speed here, measured beside predicted, and where it pays; nothing here where the models do not fit."""
    here: list[dict[str, Any]] = []
    why = "llama.cpp runs the file" if part is None else "" if asked.speed else "not asked for"
    if asked.speed and part is not None:
        try:
            here = speed_here(model, how, folder, part, report)
        except DovetailError as error:
            if error.exit_code != INFEASIBLE:
                raise
            why = str(error)
            report(why)
    pays = where_it_pays(model, how, ("host", *asked.machines)) if part is not None else []
    return {"speed": here, "speed_why": why, "pays": pays}


def _describe(part: Path, answer: dict[str, Any]) -> None:
    """Keep what was measured in the folder's record, and say it in its card."""
    about = record(part)
    if about is None:
        return
    kept = ("perplexity_before", "perplexity_after", "perplexity_ratio", "kl", "kl_back", "top1", "text", "tasks")
    about = {**about, "measured": {key: answer[key] for key in kept if answer.get(key)}}
    write_json(part / RECORD, about)
    write_text(part / "README.md", card(about))
