"""`build`: a design as a folder: the compressed checkpoint, how to serve it, the machine, what is predicted of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.files import check_apart, whole_folder, write_json, write_text
from dovetail.core.manifest import manifest
from dovetail.design.estimate import Estimate, estimate
from dovetail.design.resolve import Plan, weights_of
from dovetail.hardware import machine_to_yaml
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.system.engines import Served, vllm_serve
from dovetail.workload import Workload

DESIGN = "design.json"
Report = Callable[[str], None]


def build(
    model: Model | str,
    on: Machine | str,
    workload: Workload,
    recipe: Recipe | str,
    out: Path,
    report: Report = lambda line: None,
    plan: Plan | None = None,
) -> dict[str, Any]:
    """Write a design to `out`, whole or not at all.

    The folder holds ``checkpoint/`` (a Hugging Face folder that `transformers` loads), ``serve.sh`` where an engine can
    serve it, ``machine.yaml``, ``design.json`` (the choice and its prediction) and ``manifest.json``.

    Raises
    ------
    DovetailError
        The design is infeasible (exit code 3, with what binds), asks for images, its weights are not here, or `out`
        holds them.
    """
    if workload.images is not None:
        raise DovetailError("a design is built for text", where="images", hint="a workload without images")
    found = estimate(model, on, workload, recipe, plan)
    if not found.feasible:
        raise DovetailError(
            "this design does not fit", where=f"{found.model.name} on {found.machine.name}", why="; ".join(found.why),
            hint="another recipe, machine or batch", exit_code=INFEASIBLE,
        )  # fmt: skip
    source = weights_of(found.model)
    check_apart(source, out)
    with whole_folder(out, DESIGN) as part:
        report(f"writing the checkpoint ({found.recipe.name})")
        done = found.recipe.apply(source, part / "checkpoint")
        served = _serve(found, str(out / "checkpoint"))
        if served.command:
            write_text(part / "serve.sh", _script(found))
            (part / "serve.sh").chmod(0o755)
        write_text(part / "machine.yaml", machine_to_yaml(found.machine))
        write_json(part / DESIGN, _design(found, source))
        read = [source / "config.json", *sorted(source.glob("*.safetensors"))]
        write_json(part / "manifest.json", manifest("build", read))
    files = {
        "checkpoint/": f"{done.bytes_after:,} bytes of weights, loads in transformers",
        DESIGN: "the choice and its prediction",
        "machine.yaml": found.machine.title,
    }
    if served.command:
        files["serve.sh"] = "the command below"
    return {
        "path": str(out), "model": found.model.name, "machine": found.machine.name, "recipe": found.recipe.name,
        "bytes_before": done.bytes_before, "bytes_after": done.bytes_after, "files": files, "serve": served.command,
        "serve_why": served.why, "prediction": found.to_json(),
    }  # fmt: skip


def _script(found: Estimate) -> str:
    """``serve.sh``, which works from any current folder and after the folder was moved."""
    about = f"# {found.model.name} on {found.machine.title}"
    return f'#!/bin/sh\n{about}\ncd "$(dirname "$0")" && exec {_serve(found, "./checkpoint").command}\n'


def _serve(found: Estimate, folder: str) -> Served:
    work = found.workload
    return vllm_serve(
        folder, found.steps.decode_graph, found.machine,
        context=int(work.total_tokens), batch=int(work.batch), ways=found.plan.ways(found.machine, found.model),
        stages=found.plan.pp,
    )  # fmt: skip


def _design(found: Estimate, source: Path) -> dict[str, Any]:
    work = found.workload
    return {
        "model": found.model.name, "source": str(source.resolve()), "recipe": found.recipe.to_json(),
        "machine": found.machine.label, "tp": found.plan.ways(found.machine, found.model), "pp": found.plan.pp,
        "workload": {"batch": int(work.batch), "prompt": int(work.prompt), "output": int(work.output)},
        "prediction": found.to_json(),
    }  # fmt: skip
