"""``estimate``, ``explain``, ``advise``, ``calibrate``: predictions, what they rest on, what they advise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.app.help import add
from dovetail.app.output import Answer, Json, Out, Quiet, checked, emit, folded, progress
from dovetail.app.question import (
    IMAGE_SIZE,
    Batch,
    ImageCount,
    ImageSize,
    ModelName,
    Offload,
    On,
    Output,
    Pp,
    Prompt,
    Question,
    RecipeName,
    Tp,
)  # fmt: skip
from dovetail.core.errors import INFEASIBLE, DovetailError

if TYPE_CHECKING:
    from dovetail.design import Estimate

_EXPLAIN = "--explain memory, operators or cache; other numbers by the verb: dovetail explain tpot …"
Metric = Annotated[
    str, typer.Argument(help="ttft, tpot, throughput, energy_per_token, usd_per_mtok or memory.", metavar="METRIC")
]


_BATCHES, _CONTEXTS = "1-256", "512,2048,8192,32768"
_ADVICE = {  # when not asked
    "batch": _BATCHES, "prompt": _CONTEXTS, "output": 128, "recipe": "", "by": "tpot", "tp": 0, "pp": 1,
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    add(app, "Predict", estimate, [
        "dovetail estimate Qwen/Qwen3-8B --on h200-sxm --batch 32 --prompt 2048 --output 256",
        "dovetail estimate ./my-model --on '8 x h100-sxm' --tp 4 --recipe w4a16-rtn --json",
        "dovetail estimate meta-llama/Llama-3.1-70B --on '4 x l40s' --tp 2 --pp 2 --recipe fp8 --batch 16",
        "dovetail estimate Qwen/Qwen2.5-VL-7B-Instruct --on h200-sxm --images 2 --image-size 1080x1920",
        "dovetail estimate Qwen/Qwen3-8B --on h100-sxm --batch 32 --explain operators",
    ])  # fmt: skip
    add(app, "Predict", explain, [
        "dovetail explain tpot Qwen/Qwen3-8B --on h200-sxm --batch 32 --depth 2",
        "dovetail explain memory Qwen/Qwen3-8B --on h200-sxm --recipe w4a16-rtn",
    ])  # fmt: skip
    add(app, "Predict", advise, [
        "dovetail advise Qwen/Qwen3-8B --on h100-sxm",
        "dovetail advise Qwen/Qwen3-8B --on a100-sxm --batch 1-512 --prompt 2048,16384 --by throughput --out ./advice",
    ])  # fmt: skip
    add(app, "Predict", calibrate, [
        "dovetail calibrate --host",
        "dovetail calibrate --from calls.csv --machine l40s --out my-l40s.yaml",
    ])  # fmt: skip


def estimate(
    model: ModelName,
    on: On,
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    recipe: RecipeName = "none",
    tp: Tp = 0,
    pp: Pp = 1,
    images: ImageCount = 0,
    image_size: ImageSize = IMAGE_SIZE,
    offload: Offload = "",
    explain: Annotated[
        str,
        typer.Option(
            "--explain",
            metavar="WHAT",
            help="memory: what takes it, what fits, what would make room; operators: what takes the time and binds it; "
            "cache: a step over the recipe's cache, timed on this computer, which needs the weights.",
        ),
    ] = "",
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Predict the speed, energy, memory and price of a model.

    Needs neither torch nor a network nor the machine itself, but for --explain cache. What does not fit is answered
    too, with what binds and what would fit, and exit status 3.
    """
    from dovetail.app.estimate_screen import estimate_screen

    asked = Question(model, on, batch, prompt, output, recipe, tp, pp, images, image_size, offload)
    if explain not in ("", *_EXPLAINED):
        raise DovetailError(f"nothing called '{explain}' to explain here", where="--explain", hint=_EXPLAIN)
    try:
        found = asked.answer()
    except DovetailError as error:
        if error.exit_code != INFEASIBLE:
            raise
        answer = _refused(asked, error.what, quiet)
    else:
        code = 0 if found.feasible else INFEASIBLE
        answer = Answer("estimate", found.to_json(), lambda: estimate_screen(found, asked, quiet), code)
        if explain:
            answer = _EXPLAINED[explain](answer, found)
    emit(answer, as_json=json, quiet=quiet, out=out)


def _memory_answer(plain: Answer, found: Estimate) -> Answer:
    """The answer with the memory taken apart: a table on the screen, ``headroom`` in JSON."""
    from dovetail.app.memory_screen import memory_screen
    from dovetail.design.headroom import headroom

    room = headroom(found)
    data = {**plain.data, "headroom": asdict(room)}

    def screen() -> None:
        plain.screen()
        memory_screen(found, room)

    return replace(plain, data=data, screen=screen)


def _operators_answer(plain: Answer, found: Estimate) -> Answer:
    """The answer with its operators: a table of each phase on the screen, ``operators`` in JSON."""
    from dovetail.app.operators_screen import operators_screen
    from dovetail.design.operators import operators

    rows = operators(found)
    data = {**plain.data, "operators": [row.to_json() for row in rows]}

    def screen() -> None:
        plain.screen()
        operators_screen(found, rows)

    return replace(plain, data=data, screen=screen)


def _cache_answer(plain: Answer, found: Estimate) -> Answer:
    """The answer with a step over the recipe's cache as it is timed here: a table on the screen, ``cache`` in JSON."""
    from dovetail.app.cache_screen import cache_screen
    from dovetail.design.timed_cache import timed_cache

    timed = timed_cache(found)
    data = {**plain.data, "cache": timed.to_json()}

    def screen() -> None:
        plain.screen()
        cache_screen(found, timed)

    return replace(plain, data=data, screen=screen)


_EXPLAINED: dict[str, Callable[[Answer, Any], Answer]] = {
    "memory": _memory_answer, "operators": _operators_answer, "cache": _cache_answer,
}  # fmt: skip


def _refused(asked: Question, why: str, quiet: bool) -> Answer:
    """The answer to what has no numbers at all: arithmetic that the chip lacks, heads that do not divide."""
    from dovetail.app.estimate_screen import refusal_screen

    data = asked.refusal(why)
    return Answer("estimate", data, lambda: refusal_screen(data, asked, quiet), INFEASIBLE)


def explain(
    metric: Metric,
    model: ModelName = "embedded",
    on: On = "host",
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    recipe: RecipeName = "none",
    tp: Tp = 0,
    pp: Pp = 1,
    images: ImageCount = 0,
    image_size: ImageSize = IMAGE_SIZE,
    offload: Offload = "",
    depth: Annotated[int, typer.Option(metavar="N", help="Levels of the tree to print; 0 is all.", min=0)] = 0,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Show where a number comes from, down to formula and source."""
    from dovetail.app.tree_screen import print_tree, tree_json
    from dovetail.design.explain import explain as tree

    asked = Question(model, on, batch, prompt, output, recipe, tp, pp, images, image_size, offload)
    design = asked.answer()
    found, why = tree(design, metric), design.why

    def screen() -> None:
        print_tree(metric, found, 1 if quiet else depth)
        print("".join(f"\n{folded(f'infeasible  {reason}')}" for reason in why), end="\n" if why else "")

    data = {**tree_json(metric, found), "feasible": design.feasible, "why": why}
    code = (
        INFEASIBLE if why and metric != "memory" else 0
    )  # what takes the memory is what one asks of what does not fit
    emit(Answer("explain", data, screen, code), as_json=json, quiet=quiet, out=out)


def advise(
    model: ModelName,
    on: On,
    batch: Annotated[str, typer.Option(metavar="A-B", help="First and last batch.")] = _BATCHES,
    prompt: Annotated[str, typer.Option(metavar="N,N", help="Contexts: tokens of each prompt.")] = _CONTEXTS,
    output: Output = 128,
    recipe: Annotated[str, typer.Option(metavar="R,R", help="Recipes; by default all that change weights.")] = "",
    by: Annotated[
        str, typer.Option(metavar="METRIC", help="tpot, throughput, ttft, usd_per_mtok or energy_per_token decides.")
    ] = "tpot",
    tp: Tp = 0,
    pp: Pp = 1,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Say which recipe pays, from which batch on and until when.

    Every recipe is compared with the model as it is. Where the interval of their ratio holds 1, the answer is too
    close to call. Recipes that never pay are named with the reason.
    """
    from dovetail.app.advise_screen import advise_screen, numbers
    from dovetail.design.advise import advise as advice
    from dovetail.design.resolve import Plan

    span = numbers(batch.replace("-", ","), "--batch")
    if len(span) > 2:
        raise DovetailError(f"'{batch}' is not a range of batches", where="--batch", hint="1-256")
    names = [name for name in recipe.split(",") if name]
    found = advice(
        model, on, batch=(span[0], span[-1]), prompt=numbers(prompt, "--prompt"), output=output, recipes=names, by=by,
        plan=Plan(tp, pp),
    )  # fmt: skip
    asked = {"batch": batch, "prompt": prompt, "output": output, "recipe": recipe, "by": by, "tp": tp, "pp": pp}
    again = [word for name, value in asked.items() if value != _ADVICE[name] for word in (f"--{name}", str(value))]
    code = 0 if found.feasible else INFEASIBLE
    answer = Answer("advise", found.to_json(), lambda: advise_screen(found, [model, "--on", on, *again], quiet), code)
    emit(answer, as_json=json, quiet=quiet, out=out)


def calibrate(
    host: Annotated[bool, typer.Option("--host", help="Measure this computer.")] = False,
    calls: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="FILE", help="A table of measured calls, CSV or parquet; may be repeated."),
    ] = None,
    machine: Annotated[str, typer.Option(metavar="MACHINE", help="The chip that the calls were measured on.")] = "",
    unit: Annotated[str, typer.Option(metavar="UNIT", help="Of times whose column names none: us, ms or s.")] = "",
    kernel_source: Annotated[
        str, typer.Option(metavar="NAME", help="The kernel_source to take; the commonest by default.")
    ] = "",
    seconds: Annotated[float, typer.Option(metavar="S", help="Time to spend on --host.", min=1.0)] = 20.0,
    json: Json = False,
    quiet: Quiet = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="DIR", help="Also write a report here; or FILE.yaml: where --from writes the machine."
        ),
    ] = None,
) -> None:
    """Fit a machine to measurements, made here or in a table.

    --host times random models of its own, never one that you would ask about, and keeps the constants in the user's
    cache. --from fits the kernel constants of a GPU to your products and attention calls, judges them on shapes that it
    did not fit, and writes a copy of the machine's YAML: MACHINE-calibrated.yaml, or --out FILE.yaml.
    """
    if host == bool(calls):
        hint = "dovetail calibrate --host, or dovetail calibrate --from calls.csv --machine l40s"
        raise DovetailError("one of --host and --from is needed", where="calibrate", hint=hint)
    written = out if out is not None and out.suffix in (".yaml", ".yml") else None
    folder = checked(None if written else out)
    answer = _from_calls(calls, machine, written, (unit, kernel_source), quiet) if calls else _of_host(seconds, quiet)
    emit(answer, as_json=json, quiet=quiet, out=folder, inputs=calls or [])


def _of_host(seconds: float, quiet: bool) -> Answer:
    from dovetail.app.estimate_screen import calibration_screen
    from dovetail.design.calibrate import calibrate_host

    found = calibrate_host(seconds, report=lambda line: progress(line, quiet=quiet))
    return Answer("calibrate", found.to_json(), lambda: calibration_screen(found, quiet))


def _from_calls(
    calls: Sequence[Path], machine: str, written: Path | None, asked: tuple[str, str], quiet: bool
) -> Answer:
    from dovetail.app.calls_screen import calls_screen
    from dovetail.design.calls.calibrate import calibrate_from

    if not machine:
        raise DovetailError("which chip was measured is not said", where="--machine", hint="--machine l40s")
    unit, kernel = asked
    found = calibrate_from(
        calls, machine, written, unit=unit, kernel_source=kernel, report=lambda line: progress(line, quiet=quiet)
    )
    return Answer("calibrate", found.to_json(), lambda: calls_screen(found, quiet))
