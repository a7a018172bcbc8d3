"""``estimate``, ``explain``, ``calibrate``: predictions, where they come from, and how they are tied to a machine."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dovetail.app.output import Answer, Json, Out, Quiet, emit, progress
from dovetail.core.errors import INFEASIBLE

ModelName = Annotated[str, typer.Argument(help="A zoo name, a Hugging Face folder or a config.json.")]
On = Annotated[str, typer.Option("--on", help="A machine: zoo name, YAML file, 'host', or 'N x NAME'.")]
Batch = Annotated[int, typer.Option("--batch", help="Requests that run together.")]
Prompt = Annotated[int, typer.Option("--prompt", help="Tokens of each prompt.")]
Output = Annotated[int, typer.Option("--output", help="Tokens generated for each request.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="A recipe's name or YAML file.")]
Tp = Annotated[int, typer.Option("--tp", help="Chips that share every layer (0: all).")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(estimate)
    app.command()(explain)
    app.command()(calibrate)


def _estimate(model: str, on: str, batch: int, prompt: int, output: int, recipe: str, tp: int) -> Any:
    from dovetail.design import Plan
    from dovetail.design import estimate as predict
    from dovetail.workload import Workload

    return predict(model, on, Workload(prompt=prompt, output=output, batch=batch), recipe, Plan(tp=tp))


def estimate(
    model: ModelName,
    on: On,
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    recipe: RecipeName = "none",
    tp: Tp = 0,
    json: Json = False,
    quiet: Quiet = False,
    out: Out = None,
) -> None:
    """Predict latency, throughput, energy, memory and price of a model on a machine."""
    from dovetail.app.estimate_screen import estimate_screen

    found = _estimate(model, on, batch, prompt, output, recipe, tp)
    code = 0 if found.feasible else INFEASIBLE
    emit(Answer("estimate", found.to_json(), lambda: estimate_screen(found, quiet), code), as_json=json, out=out)


def explain(
    metric: Annotated[str, typer.Argument(help="ttft, tpot, throughput, energy_per_token, usd_per_mtok or memory")],
    model: ModelName = "embedded",
    on: On = "host",
    batch: Batch = 1,
    prompt: Prompt = 1024,
    output: Output = 128,
    recipe: RecipeName = "none",
    tp: Tp = 0,
    depth: Annotated[int, typer.Option(help="How deep to go (0: all).")] = 0,
    json: Json = False,
) -> None:
    """Show the tree of a number: formula, constants, kinds and sources."""
    from dovetail.app.estimate_screen import print_tree, tree_json
    from dovetail.design.explain import explain as tree

    found = tree(_estimate(model, on, batch, prompt, output, recipe, tp), metric)
    emit(Answer("explain", tree_json(metric, found), lambda: print_tree(metric, found, depth)), as_json=json)


def calibrate(
    host: Annotated[bool, typer.Option("--host", help="Measure this computer.")] = False,
    seconds: Annotated[float, typer.Option(help="Time to spend.")] = 20.0,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the constants of this computer and keep them for later predictions."""
    from dovetail.app.estimate_screen import calibration_screen
    from dovetail.core.errors import DovetailError

    if not host:
        raise DovetailError("nothing to calibrate", hint="dovetail calibrate --host")
    from dovetail.design.calibrate import calibrate_host

    found = calibrate_host(seconds, report=lambda line: progress(line, quiet=quiet))
    emit(Answer("calibrate", found.to_json(), lambda: calibration_screen(found)), as_json=json)
