"""How an estimate, a tree and a calibration look in a terminal."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

from dovetail.app.output import table
from dovetail.core.quantity import Quantity
from dovetail.core.units import show

if TYPE_CHECKING:
    from dovetail.design import Estimate
    from dovetail.design.calibrate import Calibration


def _interval(q: Quantity) -> str:
    return f"{show(q.low, q.unit)} – {show(q.high, q.unit)}"


def estimate_screen(found: Estimate, quiet: bool) -> None:
    """The first screen: the answer, the bottleneck, the price, the confidence, the next command."""
    work, held, chip = found.workload, found.metrics.memory, found.machine
    on = f"{chip.count} x {chip.name}" if chip.count > 1 else chip.name
    question = f"batch {work.batch}, prompt {work.prompt}, output {work.output}, recipe {found.recipe.name}"
    if found.feasible:
        speed = f"{show(found.tpot.value, 's')} a token, {found.throughput.value:,.0f} tok/s"
        print(f"{found.model.name} on {on}: {speed}  ({question})")
    else:
        print(f"{found.model.name} on {on}: infeasible  ({question})")
        for reason in found.why:
            print(f"  because {reason}")
    if quiet:
        return
    if found.feasible:
        _predictions(found)
    free = float(held.capacity) - float(held.total)
    words = f"{show(free, 'byte')} of {show(float(held.capacity), 'byte')} free"
    if free < 0:
        words = f"{show(-free, 'byte')} more than the {show(float(held.capacity), 'byte')} there are"
    print(
        f"memory      {show(float(held.weights), 'byte')} weights + {show(float(held.kv_cache), 'byte')} KV cache + "
        f"{show(float(held.activations), 'byte')} activations; {words}"
    )
    for phase, bound in found.bottleneck().items():
        print(f"bottleneck  {phase}: {bound}")
    source = chip.source("efficiency").text
    print(wrapped(f"confidence  {found.kind}, within a factor {1 + chip.efficiency.spread:.2f}; efficiency: {source}"))
    print(f"next        {_next_command(found)}")


def wrapped(text: str, indent: int = 12) -> str:
    """`text` folded to 100 characters, later lines indented."""
    return fill(text, 100, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)


def _predictions(found: Estimate) -> None:
    price = found.usd_per_mtok
    rows = [
        ["time to first token (whole batch)", show(found.ttft.value, "s"), _interval(found.ttft)],
        ["time per output token", show(found.tpot.value, "s"), _interval(found.tpot)],
        ["throughput", show(found.throughput.value, "tok/s"), _interval(found.throughput)],
        ["energy per output token", show(found.energy_per_token.value, "J/tok"), _interval(found.energy_per_token)],
        ["price per million output tokens", show(price.value, "USD/Mtok"), _interval(price)]
        if price
        else ["price", "no rent known", ""],
    ]
    table(["", "predicted", "90 % interval"], rows)


def _next_command(found: Estimate) -> str:
    work, chip = found.workload, found.machine
    on = f"'{chip.count} x {chip.name}'" if chip.count > 1 else chip.name
    lengths = f"--batch {work.batch} --prompt {work.prompt} --output {work.output}"
    recipe = "" if found.recipe.name == "none" else f" --recipe {found.recipe.name}"
    metric = "tpot" if found.feasible else "memory"
    return f"dovetail explain {metric} {found.model.name} --on {on} {lengths}{recipe}"


def print_tree(name: str, root: Quantity, depth: int) -> None:
    """The tree of a quantity, one number a line: value, formula, kind and source."""
    for level, part, q in root.tree(name):
        if depth and level > depth:
            continue
        origin = f"  [{q.kind}{': ' + q.source if q.source else ''}]"
        formula = f"  = {q.formula}" if q.formula else ""
        print(f"{'  ' * level}{part}: {show(q.value, q.unit, 4)}{formula}{origin}")


def tree_json(name: str, root: Quantity) -> dict[str, Any]:
    """The tree as nested JSON: each quantity with its name, formula and parts."""
    return {"name": name, **root.to_json(), "formula": root.formula, "parts": [tree_json(n, q) for n, q in root.parts]}


def calibration_screen(found: Calibration) -> None:
    """What a calibration measured, and its own error on what it did not fit."""
    table(["constant", "value", "meaning"], [[c.name, show(c.value, c.unit), c.meaning] for c in found.constants])
    print(
        f"held-out error {found.error:.0%} (median over {found.held_out} held-out measurements); kept in {found.path}"
    )
    print("next        dovetail estimate embedded --on host")
