"""`compress`: a recipe applied to real weights, with quality and speed before and after, and where it pays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import whole_folder, write_json, write_text
from dovetail.core.quantity import Quantity, exact
from dovetail.design.before_after import ELSEWHERE, speed_here, where_it_pays
from dovetail.design.export import DENSE, FOLDER, GGUF, Exported, check_format, export, intermediate
from dovetail.design.quality import check_text, measured_change, quality_text
from dovetail.design.resolve import as_model
from dovetail.design.resolve import weights_of as weights_of
from dovetail.model import Model
from dovetail.recipe.footprint import Footprint
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.layerwise.job import remove_finished
from dovetail.recipe.recipe import Applied, Recipe, work_folder
from dovetail.runtime.card import card
from dovetail.runtime.checkpoint import RECORD, Checkpoint, check_target, record
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
    how, asked = Recipe.load(recipe), check or Check()
    task = Task.of(model, out, calibration, replace(asked, text=text or asked.text), format, report)
    expected, work = task.forecast(how), work_folder(task.out)
    with (
        kept([work], report),
        whole_folder(task.out, RECORD) as part,
        task.carried_out(how, part, work, expected) as made,
    ):
        return task.finished(made, part)


@dataclass(frozen=True, slots=True)
class Made:
    """Weights of a recipe on their way to a folder, a Hugging Face folder to measure them on, and what is known."""

    how: Recipe
    measured_on: Path
    answer: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Task:
    """All that `compress` is asked but the recipe."""

    model: Model
    folder: Path
    out: Path
    asked: Check
    calibration: Calibration
    format: str
    report: Report

    @classmethod
    def of(
        cls, model: Model | str, out: Path, calibration: Calibration | None, asked: Check, format: str, report: Report
    ) -> Task:
        """Raises `DovetailError` for what no recipe could do: the folder, the format, a text or task to measure on."""
        found = as_model(model)
        task = cls(
            found, weights_of(found), out.expanduser(), asked, calibration or Calibration(), format, report
        )  # fmt: skip
        check_target(task.folder, task.out)
        Checkpoint.open(task.folder)  # a broken one first
        check_format(format, task.folder)
        if asked.quality:
            check_text(task.folder, asked.text)
        if asked.tasks:
            check_tasks(asked.tasks)
        return task

    def forecast(self, how: Recipe) -> Footprint:
        """What memory and disk it takes. Raises `DovetailError` where it is not there."""
        expected = Footprint.of(how, Checkpoint.open(self.folder), self.calibration)
        self.report(f"memory: {expected.words()}")
        expected.check()
        expected.check_disk(self.out)
        return expected

    @contextmanager
    def carried_out(self, how: Recipe, part: Path, work: Path, expected: Footprint) -> Iterator[Made]:
        """The recipe's weights in `part`, in the format, their quality measured; finished layers stay in `work`."""
        with intermediate(self.format, part) as applied:
            self.report(f"applying {how.name} to {self.model.name}")
            done, peak = _applied(how, self.folder, applied, work, self.calibration, self.report)
            written = export(applied, part, self.format, self.model.name, self.report)
            answer = {
                "model": self.model.name, "recipe": how.name, "path": str(self.out), "seconds": done.seconds,
                "calibration": self.calibration.to_json() if how.calibrated else None,
                "format": self.format, "file": written.file, "notes": list(written.notes), **written.details,
                **_sizes(done, written),
                "memory": {"predicted": expected.quantity().to_json(), "measured": peak},
                **_quality(self.folder, written.measured_on, self.asked, self.report),
            }  # fmt: skip
            if answer["pieces"] == 1:
                answer["notes"] += ["the text is one piece: no range can be told; a longer text has several"]
            yield Made(how, written.measured_on, answer)

    def finished(self, made: Made, part: Path) -> dict[str, Any]:
        """The whole answer, tasks and speed measured too, and described in the folder."""
        run_on = None if self.format == GGUF else made.measured_on
        runs_as = Recipe("none") if self.format == DENSE else made.how  # dense weights run as those that they stand for
        answer = {
            **made.answer,
            **_tasks(self.folder, made.measured_on, self.asked, self.report),
            **_speed(self.model, runs_as, self.folder, run_on, self.asked, self.report),
        }
        _describe(part, answer)
        return answer


@contextmanager
def kept(works: Sequence[Path], report: Report) -> Iterator[None]:
    """Finished layers lie in `works` until the block, with all that is measured of them, has ended well."""
    try:
        yield
    except (KeyboardInterrupt, DovetailError):
        if left := [str(work) for work in works if work.exists()]:
            where = " and ".join(left)
            report(f"stopped: finished layers are kept in {where}, and the same command goes on from there")
        raise
    for work in works:
        remove_finished(work)


def _sizes(done: Applied, written: Exported) -> dict[str, Any]:
    source = f"payload of {written.file}: elements and scales"
    sizes = {"bytes_before": done.bytes_before, "bytes_after": written.bytes}
    return {key: exact(size, "byte", "measured", source).to_json() for key, size in sizes.items()}


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
    keys = (
        "perplexity_before",
        "perplexity_after",
        "perplexity_ratio",
        "kl",
        "kl_back",
        "top1",
        "arithmetic",
        "pieces",
    )
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
        "pieces": count,
    }


def as_quantity(quality: Quality, label: str) -> Quantity:
    """Perplexity with its bootstrap interval."""
    low, high = quality.perplexity_interval
    return Quantity(quality.perplexity, low, high, "", "measured", f"{quality.tokens:,} tokens of {label}")


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
