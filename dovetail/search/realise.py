"""A design picked from a study, made real: checkpoint, engine, machine, RTL for an overlay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dovetail.core.files import whole_folder, write_json, write_text
from dovetail.core.manifest import manifest
from dovetail.design.build import DESIGN, build
from dovetail.design.compile import Asked
from dovetail.design.compile import compile as compile_model
from dovetail.design.simulate import shape_of
from dovetail.hardware import machine_to_yaml
from dovetail.hardware.target import load_target
from dovetail.search.archive import Archive
from dovetail.search.chosen import Chosen, design_of
from dovetail.search.codesign import with_forecasts
from dovetail.search.outcome import result
from dovetail.search.result import Candidate, Result
from dovetail.search.study import Study

Report = Callable[[str], None]
_ALL = 2**40  # of every resource, for a chip that holds the array because the search says so


def found_in(study: Study) -> Result:
    """The result of a study as it stands, without evaluating anything. Raises `DovetailError` when it is empty."""
    space = with_forecasts(study.space())
    small, pruned = space.trimmed()
    archive = Archive(len(space.objectives))
    for block in study.every():
        archive.add(block)
    archive.settle()
    return result(space, small, pruned, archive, study.blocks, (), "read from a study")


def build_from(path: Path, rule: str, out: Path, report: Report = lambda line: None) -> dict[str, Any]:
    """Build the design that `rule` picks from the front of a study.

    With weights here, the folder is that of `design.build`, and holds ``rtl/`` for a machine of template ``overlay``;
    without them it holds ``machine.yaml``, ``design.json`` and ``manifest.json``.

    Parameters
    ----------
    rule : str
        As `Result.pick` takes it: ``tpot < 30 ms``.

    Raises
    ------
    DovetailError
        The study is empty, nothing on its front meets the rule (exit code 3), or the design cannot be built.
    """
    with Study(path) as study:
        found = found_in(study)
    picked = found.pick(rule)
    design = design_of(found.searched, picked)
    if design.model.folder is None:
        return _described(path, picked, design, out)
    made = build(design.model, design.machine, design.workload, design.recipe, out, report, design.plan)
    if design.machine.title.endswith("array with LPDDR5X"):
        report("emitting RTL for the array")
        made["files"]["rtl/"] = f"Verilog of {_rtl(picked, design, out)} multipliers, by dovetail compile"
    return made | {"design": picked.to_json()}


def _described(path: Path, picked: Candidate, design: Chosen, out: Path) -> dict[str, Any]:
    estimate = design.estimate()
    with whole_folder(out, DESIGN) as part:
        write_text(part / "machine.yaml", machine_to_yaml(design.machine))
        write_json(part / DESIGN, {"design": picked.to_json(), "prediction": estimate.to_json()})
        write_json(part / "manifest.json", manifest("build", [path]))
    files = {DESIGN: "the choice and its prediction", "machine.yaml": design.machine.title}
    return {
        "path": str(out), "model": design.model.name, "machine": design.machine.name, "recipe": design.recipe.name,
        "files": files, "serve": "", "serve_why": f"the weights of {design.model.name} are not here",
        "prediction": estimate.to_json(), "design": picked.to_json(),
    }  # fmt: skip


def _rtl(picked: Candidate, design: Chosen, out: Path) -> int:
    """Emit the accelerator of an integer array, or what another array's numbers allow; returns its multipliers."""
    machine = design.machine
    clock, width = float(machine.clock_hz), float(machine.memory.bandwidth)
    context = int(float(picked["prompt"]) + float(picked["output"]))
    target = replace(load_target("asic"), clock_hz=clock, bandwidth=width, memory=machine.memory.name)
    asked = Asked(context=context, quality=False, synthesis=False)
    if machine.integer_array is not None:
        asked = replace(asked, shape=shape_of(machine.integer_array))
        target = replace(target, resources=dict.fromkeys(target.resources, _ALL))
    else:
        products = int(float(machine.peak_of("int8")) / (2 * clock))
        macros = int(float(machine.caches[0].capacity) * 8 / target.bram_bits)
        asked = replace(asked, budget=f"dsp<={products},bram<={macros}")
    recipe = design.recipe.name if design.recipe.name in ("w8a8", "w4a8") else "w8a8"
    made = compile_model(design.model, target, out / "rtl", recipe=recipe, asked=asked)
    return int(made["resources_modelled"]["dsp"])
