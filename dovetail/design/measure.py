"""`measure`: run a built design on this computer and put each prediction beside its measurement."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity, exact
from dovetail.design.build import DESIGN
from dovetail.design.estimate import Estimate, estimate
from dovetail.design.resolve import as_machine
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.model.storage import Storage
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.speed import Speed, decode_speed, prefill_speed
from dovetail.workload import Workload

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One metric, predicted beside measured; `what` is the design it belongs to."""

    what: str
    metric: str
    predicted: Quantity
    measured: Quantity | None

    @property
    def error(self) -> float | None:
        """Predicted over measured, less one; None without a measurement."""
        return self.predicted.value / self.measured.value - 1 if self.measured and self.measured.value else None

    def to_json(self) -> dict[str, Any]:
        measured = self.measured.to_json() if self.measured else None
        return {
            "what": self.what, "metric": self.metric, "predicted": self.predicted.to_json(), "measured": measured,
            "error": self.error,
        }  # fmt: skip


def measure(
    folder: Path, seconds: float = 5.0, report: Report = lambda line: None, on: Machine | str = "host",
    kernels: str = "auto",
) -> dict[str, Any]:  # fmt: skip
    """Measure the checkpoint of a built design here: stored bytes, prefill and decode speed, energy where readable.

    The design's own batch and prompt are used, halved until the prediction says that a step takes at most `seconds`.
    `on` is what predicts this computer: its calibration, or a YAML file that a calibration wrote elsewhere. `kernels`
    is that of `load`, and the prediction is of the arithmetic that it comes to. ``auto`` unpacks where the machine
    knows nothing of packed products.

    Raises
    ------
    DovetailError
        Not a folder that `build` wrote, or a broken checkpoint.
    """
    design = _design(folder)
    model, recipe = _base(folder / "checkpoint"), Recipe.load(design["recipe"])
    asked = Workload(**design["workload"])
    machine = as_machine(on)
    report(f"loading {folder / 'checkpoint'}")
    loaded = load(folder / "checkpoint", kernels="dense" if kernels == "auto" and machine.packed is None else kernels)
    found = within(model, recipe, as_run(machine, loaded.arithmetic), asked, seconds)
    report("measuring prefill and decode")
    rows = [stored_bytes(found, folder / "checkpoint"), *speed_rows(found, *speeds(found.workload, loaded, seconds))]
    return {
        "path": str(folder), "designed_for": design["machine"], "measured_on": found.machine.title,
        "kernels": loaded.arithmetic,
        "workload": {name: int(getattr(found.workload, name)) for name in ("batch", "prompt", "output")},
        "rows": [row.to_json() for row in rows],
    }  # fmt: skip


def as_run(machine: Machine, arithmetic: str) -> Machine:
    """The machine for a model whose linear layers multiply so (`Loaded.arithmetic`).

    Raises
    ------
    DovetailError
        The weights are packed, and the machine knows nothing of packed products.
    """
    if arithmetic.startswith("dense"):
        return replace(machine, packed=None)
    if machine.packed is None:
        why = "its file has no section 'packed'"
        hint = "dovetail calibrate --host, or --kernels dense"
        raise DovetailError(f"{machine.name} does not predict packed products", why=why, hint=hint)
    return replace(machine, packed=replace(machine.packed, rounds=arithmetic.startswith("int8")))


def _base(checkpoint: Path) -> Model:
    """The model before its recipe, so that what is predicted comes from the recipe and not from what it wrote."""
    model = Model.load(checkpoint)
    plain = {name: value for name, value in model.config.items() if name != "quantization_config"}
    return replace(model, config=plain, storage=Storage())


def within(model: Model, recipe: Recipe, on: Machine | str, work: Workload, seconds: float) -> Estimate:
    """The estimate of `work` here, its batch and then its prompt halved until a prefill takes at most `seconds`."""
    batch, prompt = int(work.batch), int(work.prompt)
    while True:
        found = estimate(model, on, Workload(prompt=prompt, output=work.output, batch=batch), recipe)
        if float(found.metrics.ttft_s) <= seconds or (batch, prompt) == (1, 1):
            return found
        batch, prompt = (batch // 2, prompt) if batch > 1 else (1, max(1, prompt // 2))


def stored_bytes(found: Estimate, checkpoint: Path) -> Row:
    """Payload of the weights on disk: the graph's formats against the file."""
    graph = found.recipe.rewrite(found.model.graph(batch=1, tokens=1, context=0))
    predicted = exact(float(graph.weight_bytes()), "byte", "modelled", "formats of the graph, scales included")
    measured = exact(Checkpoint.open(checkpoint).payload_bytes, "byte", "measured", "safetensors headers")
    return Row(found.recipe.name, "stored weights", predicted, measured)


def speeds(work: Workload, loaded: Loaded, seconds: float) -> tuple[Speed, Speed]:
    """Measured prefill of a scalar workload, and decode at its mean context, about `seconds` each."""
    batch, prompt, context = int(work.batch), int(work.prompt), int(work.mean_context)
    prefill = prefill_speed(loaded, prompt, batch=batch, budget_s=seconds)
    return prefill, decode_speed(loaded, context, batch=batch, budget_s=seconds)


def speed_rows(found: Estimate, prefill: Speed, decode: Speed) -> list[Row]:
    """A scalar estimate for this computer beside the `speeds` of its workload."""
    work = found.workload
    batch, prompt, context = int(work.batch), int(work.prompt), int(work.mean_context)
    rows = [
        _speed_row(found, f"prefill, {batch} x {prompt} tokens", batch * prompt / float(found.metrics.ttft_s), prefill),
        _speed_row(found, f"decode, batch {batch}, context {context}", batch / float(found.metrics.tpot_s), decode),
    ]
    for name, speed in (("prefill", prefill), ("decode", decode)):
        if speed.j_per_token is not None:
            joules = exact(speed.j_per_token, "J/tok", "measured", "energy counters of the package")
            rows.append(Row(found.recipe.name, f"{name} energy per token", _energy(found, name), joules))
    return rows


def _speed_row(found: Estimate, metric: str, value: float, speed: Speed) -> Row:
    source = f"{speed.repeats} repeats, {speed.threads} threads, median and quartiles"
    measured = Quantity(speed.tokens_per_s, speed.low, speed.high, "tok/s", "measured", source)
    return Row(found.recipe.name, metric, found.quantity(value, "tok/s"), measured)


def _energy(found: Estimate, phase: str) -> Quantity:
    batch, prompt = float(found.workload.batch), float(found.workload.prompt)
    joules = (
        found.steps.prefill.energy_j / (batch * prompt) if phase == "prefill" else found.steps.decode.energy_j / batch
    )
    return found.quantity(float(joules), "J/tok", "energy_per_token")


def _design(folder: Path) -> dict[str, Any]:
    hint = "dovetail build MODEL --on host --out DIR"
    try:
        found = json.loads((folder / DESIGN).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        why = f"{DESIGN}: {getattr(error, 'strerror', None) or error}"
        raise DovetailError("this is not a built design", where=str(folder), why=why, hint=hint) from None
    if not isinstance(found, dict) or not {"recipe", "machine", "workload"} <= found.keys():
        why = f"{DESIGN} does not hold a recipe, a machine and a workload"
        raise DovetailError("this is not a built design", where=str(folder), why=why, hint=hint)
    return found
