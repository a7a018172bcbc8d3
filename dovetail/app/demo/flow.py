"""The demo's flow: describe, predict, do, choose, show. Each stage is kept on disk, so that a stopped demo goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from dovetail.app.demo import choices
from dovetail.app.demo.found import HOST, WINNER, Found, Tried
from dovetail.app.demo.sections import full_report, screen_report
from dovetail.app.landscape import landscape
from dovetail.app.output import finite
from dovetail.app.report import Report
from dovetail.app.stages import Stages
from dovetail.core.content import digest
from dovetail.core.files import check_ours, write_json
from dovetail.core.manifest import check_results, manifest
from dovetail.design.build import DESIGN, build
from dovetail.design.calibrate import calibrate_host
from dovetail.design.estimate import Estimate, estimate
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.measure import Row, speed_rows, speeds
from dovetail.design.quality import measured_quality
from dovetail.design.resolve import weights_of
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.detect import detect
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import Quality
from dovetail.runtime.speed import Speed
from dovetail.search import Result, Space, Study, search
from dovetail.workload import Workload

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's answer: `data` for scripts, `screen` for the terminal; the folder holds the rest."""

    data: dict[str, Any]
    screen: Report


def demo(out: Path, say: Say = lambda line: None) -> Demo:
    """Co-design the embedded model with its hardware and write everything to `out`.

    Returns after about two minutes on two cores; a second run in the same folder goes on where the first was stopped.

    Raises
    ------
    DovetailError
        `out` holds a report that is not ours; torch or transformers is missing; or the disk is full: what was finished
        is kept.
    """
    from dovetail.app.report import write_report

    check_results(out)
    check_ours(out / WINNER, DESIGN)
    started = time.perf_counter()
    stages = Stages(out / "stages", say)
    model = Model.load(choices.MODEL)
    weights = Checkpoint.open(weights_of(model)).sha256()
    host = _calibrated(out, stages, say)
    tried = {name: _try(name, model, weights, out, stages, say) for name in choices.RECIPES}
    rows = (*_recipe_rows(model, host, tried), *_checks(model, host, weights, stages, say))
    say(f"predicting {len(choices.RECIPES)} recipes on {len(choices.CHIPS) + 1} machines")
    predictions = tuple(_predictions(model, host))
    result, around = _search(out, host, tried, say)
    winner = _winner(model, host, result)
    built = _built(winner, out, say)
    found = Found(model, host, tried, rows, predictions, result, around, built, winner, time.perf_counter() - started)
    notes = manifest("dovetail demo", [weights_of(model) / "config.json", *weights_of(model).glob("*.safetensors")])
    data = finite(as_json(found))
    write_json(out / "manifest.json", notes)
    write_json(out / "result.json", data)
    write_report(full_report(found, out, notes), out / "report.html")
    return Demo(data, screen_report(found, out))


def _calibrated(out: Path, stages: Stages, say: Say) -> Machine:
    """This computer's machine, measured and kept beside the report."""
    path = out / HOST

    def measure() -> dict[str, Any]:
        say(f"calibrating this computer for {choices.CALIBRATION_SECONDS:g} seconds")
        return calibrate_host(choices.CALIBRATION_SECONDS, path, say).to_json()

    stages.run("calibration", [_computer(), choices.CALIBRATION_SECONDS], measure, makes=path)
    return load_machine(str(path))


def _computer() -> list[Any]:
    """What a measured time is true for: a folder that is copied to another computer is measured there."""
    facts = detect()
    return [facts.model, facts.cores]


def _try(name: str, model: Model, weights: str, out: Path, stages: Stages, say: Say) -> Tried:
    """Apply a recipe to the real weights, measure its quality and its speed here."""
    recipe, folder = Recipe.load(name), weights_of(model)

    def work() -> dict[str, Any]:
        say(f"{name}: applying to {model.name}, then measuring quality and speed here")
        done = recipe.apply(folder, out / "checkpoints" / name)
        quality = measured_quality(folder, recipe, applied=done.path, cache=out / "stages" / "quality")
        prefill, decode = speeds(Workload(**choices.WORKLOAD), load(done.path, kernels="auto"), choices.SECONDS)
        return {
            "bytes": done.bytes_after,
            "quality": asdict(quality),
            "prefill": asdict(prefill),
            "decode": asdict(decode),
        }

    inputs = [weights, recipe.to_json()["methods"], choices.WORKLOAD, choices.SECONDS, _computer()]
    kept = stages.run(f"recipe-{name}", inputs, work)
    quality = {**kept["quality"], "documents": tuple(map(tuple, kept["quality"]["documents"]))}
    return Tried(name, kept["bytes"], Quality(**quality), Speed(**kept["prefill"]), Speed(**kept["decode"]))


def _recipe_rows(model: Model, host: Machine, tried: Mapping[str, Tried]) -> list[Row]:
    """Predicted beside measured for every recipe at the demo's workload."""
    work = Workload(**choices.WORKLOAD)
    return [
        row
        for name, seen in tried.items()
        for row in speed_rows(estimate(model, host, work, name), seen.prefill, seen.decode)
    ]


def _checks(model: Model, host: Machine, weights: str, stages: Stages, say: Say) -> list[Row]:
    """Predicted beside measured for the model as it is, at other batches and contexts."""
    loaded = None
    rows: list[Row] = []
    for batch, prompt in choices.CHECKS:
        work = Workload(prompt=prompt, output=2, batch=batch)

        def measure(work: Workload = work) -> dict[str, Any]:
            nonlocal loaded
            say(f"measuring batch {work.batch} with prompts of {work.prompt} tokens here")
            loaded = loaded or load(weights_of(model))
            prefill, decode = speeds(work, loaded, choices.SECONDS)
            return {"prefill": asdict(prefill), "decode": asdict(decode)}

        kept = stages.run(f"check-{batch}x{prompt}", [weights, batch, prompt, choices.SECONDS, _computer()], measure)
        rows += speed_rows(estimate(model, host, work), Speed(**kept["prefill"]), Speed(**kept["decode"]))
    return rows


def _predictions(model: Model, host: Machine) -> list[Estimate]:
    """Every recipe on every chip and on this computer, at the demo's workload."""
    work = Workload(**choices.WORKLOAD)
    machines = [*(load_machine(name) for name in choices.CHIPS), host]
    return [estimate(model, machine, work, recipe) for machine in machines for recipe in choices.RECIPES]


def _search(out: Path, host: Machine, tried: Mapping[str, Tried], say: Say) -> tuple[Result, dict[str, Any]]:
    space = Space.of(**choices.SPACE)
    say(f"searching {space.size:,} designs for the exact front of {', '.join(map(str, space.objectives))}")
    qualities = {(choices.MODEL, name): seen.quality for name, seen in tried.items()}
    evaluate = DesignEvaluator(qualities, {"host": host})
    key = digest([choices.SPACE, evaluate.fingerprint])[:8]  # a study is of one search: other figures, another file
    with Study(out / f"study-{key}.sqlite") as study:
        result = search(space, evaluate, study)
    say("looking at the designs around the front")
    return result, finite(landscape(result, evaluate))


def _winner(model: Model, host: Machine, result: Result) -> Estimate:
    """The winner as an estimate; where the constraint left none, the nearest miss; without one, what was measured."""
    chosen = result.winner or result.nearest
    if chosen is None:
        return estimate(model, host, Workload(**choices.WORKLOAD), "none")
    machine = host if chosen.structure.machine == "host" else load_machine(chosen.structure.machine)
    prompt, output, batch = (int(chosen.point[name]) for name in ("prompt", "output", "batch"))
    work = Workload(prompt, output, batch)
    return estimate(model, machine, work, chosen.structure.recipe)


def _built(winner: Estimate, out: Path, say: Say) -> Mapping[str, Any]:
    """The winner as a folder; where it does not fit, why there is none: the report is written all the same."""
    if winner.feasible:
        return build(winner.model, winner.machine, winner.workload, winner.recipe, out / WINNER, say)
    why = f"not built: {'; '.join(winner.why)}"
    say(why)
    return {"path": None, "serve": "", "serve_why": why}


def as_json(found: Found) -> dict[str, Any]:
    """The demo's result for scripts."""
    errors = [abs(row.error) for row in found.rows if row.error is not None]
    return {
        "model": found.model.name, "host": found.host.title, "seconds": found.seconds,
        "constraint": choices.WORDS, "winner": found.result.winner.to_json() if found.result.winner else None,
        "serve": found.built["serve"], "path": found.built["path"],
        "serve_why": found.built["serve_why"],
        "recipes": [
            {"recipe": t.recipe, "bytes": t.bytes, "perplexity": t.quality.perplexity,
             "bits_per_byte": t.quality.bits_per_byte, "prefill_tokens_per_s": t.prefill.tokens_per_s,
             "decode_tokens_per_s": t.decode.tokens_per_s}
            for t in found.tried.values()
        ],
        "rows": [row.to_json() for row in found.rows], "median_error": median(errors) if errors else None,
        "predictions": [e.to_json() for e in found.predictions], "search": found.result.to_json(),
    }  # fmt: skip
