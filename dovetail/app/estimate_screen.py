"""How an estimate and a calibration look in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dovetail.app.describe import not_described
from dovetail.app.output import command, folded
from dovetail.app.question import Question
from dovetail.app.table import table
from dovetail.core.quantity import Quantity
from dovetail.core.units import show
from dovetail.cost.packed import executed
from dovetail.system.pipeline_parallel import stage_layers

if TYPE_CHECKING:
    from dovetail.design import Estimate
    from dovetail.design.calibrate import Calibration


def estimate_screen(found: Estimate, asked: Question, quiet: bool) -> None:
    """The first screen: the answer, the bottleneck, the price, the confidence, the next command."""
    chip = found.machine
    design = f"{found.model.name} on {chip.label}"
    speed = f"{show(found.tpot.value, 's')} a token, {found.throughput.value:,.0f} tok/s"
    print(folded(f"{design}: {speed if found.feasible else 'infeasible'}", 2))
    if not found.feasible:
        print("\n".join(folded(f"because     {reason}") for reason in found.why))
    if quiet:
        return
    print(_asked(asked, found))
    if chip.count > 1:
        print(folded(_layout(found)))
    if found.feasible:
        _predictions(found)
    print(folded(_memory(found)))
    if found.model.storage.unread:
        print(folded(f"stored      {not_described(found.model)}"))
    if found.feasible:
        for phase, bound in found.bottleneck().items():
            print(folded(f"bottleneck  {phase}: {bound}"))
    if guessed := found.speculation(full=False):
        print(folded(f"speculation {guessed.words()}"))
    print(folded(_confidence(found)))
    if words := _quality(found):
        print(folded(words))
    print(command(_next(found, asked)))


def refusal_screen(data: Mapping[str, Any], asked: Question, quiet: bool) -> None:
    """The screen of a design that has no numbers at all, and where others are."""
    print(folded(f"{data['model']} on {data['on']}: infeasible", 2))
    print("\n".join(folded(f"because     {reason}") for reason in data["why"]))
    if not quiet:
        print(_asked(asked))
        print(command(["dovetail", "ls", "machines"]))


def _asked(asked: Question, found: Estimate | None = None) -> str:
    lengths = f"batch {asked.batch:,}, prompt {asked.prompt:,}, output {asked.output:,}"
    if asked.images:
        tokens = f" ({found.workload.images.tokens:,} tokens each)" if found and found.workload.images else ""
        lengths += f", {asked.images:,} image{'s' if asked.images > 1 else ''} of {asked.image_size}{tokens}"
    return folded(f"asked       {lengths}, recipe {asked.recipe}")


def _layout(found: Estimate) -> str:
    """How the work lies on the chips, what joins them, and what the links take of a decode step."""
    chip, ways = found.machine, found.plan.ways(found.machine, found.model)
    stages, copies = found.plan.pp, found.plan.replicas(chip, found.model)
    words = f"each layer on {ways} chips" if ways > 1 else "each layer on one chip"
    if stages > 1:
        sizes = sorted({len(each) for each in stage_layers(found.model.layers, stages)})
        words = f"tp {ways} x pp {stages}: {words}, {stages} stages of {' or '.join(map(str, sizes))} layers"
    words += f", {copies} replicas" if copies > 1 else ""
    if chip.levels:
        nodes = chip.count // chip.node
        words += f"; {nodes} nodes of {chip.node}" if nodes > 1 else f"; one node of {chip.node}"
        words += f" ({' and '.join(level.name for level in chip.levels[: 2 if nodes > 1 else 1])})"
    else:
        words += "; taken for one node: no system with this chip is known"
    cost = found.steps.decode
    if spent := sum(float(o.time_s) for o in cost.operators if float(o.link_s)):
        source = chip.source("fabric")
        what = "messages" if stages > 1 else "collectives"
        words += f"; {what} {show(spent, 's')} of a {show(float(cost.time_s), 's')} step ({source.kind})"
    return f"layout      {words}"


def _interval(q: Quantity) -> str:
    return f"{show(q.low, q.unit)} – {show(q.high, q.unit)}"


def _predictions(found: Estimate) -> None:
    price = found.usd_per_mtok
    named = {
        "time to first token, whole batch": found.ttft, "time to first token, one alone": found.ttft_alone,
        "time per output token": found.tpot,
        "throughput": found.throughput, "energy per output token": found.energy_per_token,
    }  # fmt: skip
    rows = [[name, show(q.value, q.unit), _interval(q)] for name, q in named.items()]
    rows.append(
        ["price per million output tokens", show(price.value, price.unit), _interval(price)]
        if price
        else ["price per million output tokens", "–", "no rent known"]
    )
    table(["", "predicted", "range"], rows)


def _memory(found: Estimate) -> str:
    held = found.metrics.memory
    buffers = held.total - held.weights - held.kv_cache - held.activations
    parts = {"weights": held.weights, "KV cache": held.kv_cache, "activations": held.activations, "buffers": buffers}
    capacity = show(float(held.capacity), "byte")
    free = float(held.capacity) - float(held.total)
    words = f"{show(free, 'byte')} of {capacity} free"
    if free < 0:
        words = f"{show(-free, 'byte')} more than the {capacity} there are"
    each = " on each chip" if found.machine.count > 1 else ""
    each += f" of stage {found.steps.stage + 1}, the fullest" if found.plan.pp > 1 else ""
    sizes = " + ".join(f"{show(float(size), 'byte')} {name}" for name, size in parts.items())
    if float(held.host):
        words += f"; {show(float(held.host), 'byte')} in the host's memory"
    return f"memory      {sizes}; {words}{each}"


def _confidence(found: Estimate) -> str:
    chip = found.machine
    known = found.trust
    words = f"times {found.kind}, within a factor {known.factor('tpot'):.2f}"
    words += f"; energy {known.kind('energy_per_token')}, {known.factor('energy_per_token'):.2f}"
    models = [model for model in known.models if model != "roofline"]
    texts = dict.fromkeys(chip.source(f"kernels.{model}").text for model in models)
    words += "".join(f"; kernels: {text}" for text in texts) or f"; efficiency: {chip.source('efficiency').text}"
    words += "".join(f"; {family}: constants of another dtype stand in" for family in known.lent)
    if found.plan.group(chip, found.model) > 1 and chip.fabric:
        words += f"; collectives: {chip.source('fabric').text}"
    if executed(found.steps.decode_graph, chip).packed is not None:
        words += "; weights stay packed, by dovetail's kernels"
    if found.kind == "modelled" and chip.name == "host":
        words += "; 'dovetail calibrate --host' measures it"
    return f"confidence  {words}"


def _quality(found: Estimate) -> str:
    """What the recipe costs in perplexity, where published tables say so; nothing without a recipe."""
    known = found.quality
    if known.ratio is None:
        return f"quality     {known.why}" if known.why else ""
    low, value, high = (
        f"{float(f'{100 * (x - 1):.2g}'):,g} %" for x in (known.ratio.low, known.ratio.value, known.ratio.high)
    )
    return f"quality     perplexity +{value} [{low} – {high}], {known.ratio.kind}: {known.ratio.source}"


def _next(found: Estimate, asked: Question) -> list[str]:
    """Where the time goes when it fits; else the same question with what would fit, or what could be changed."""
    from dovetail.design.feasibility import largest_batch

    if found.feasible:
        return asked.command("explain", "tpot")
    work = found.workload
    room = found.model.max_context - int(work.total_tokens - work.prompt)
    if asked.prompt > room:
        return replace(asked, prompt=room).command("estimate") if room > 0 else ["dovetail", "ls", "models"]
    if found.metrics.memory.fits:  # no kernel executes this recipe's format there
        return ["dovetail", "ls", "recipes"]
    fits = largest_batch(found.model, found.machine, found.recipe, found.plan, work)
    return (
        replace(asked, batch=fits).command("estimate") if 0 < fits < asked.batch else asked.command("explain", "memory")
    )


def calibration_screen(found: Calibration, quiet: bool) -> None:
    """What a calibration measured, and its own error on what it did not fit."""
    error = f"held-out error {found.error:.0%} (median of {found.held_out} steps)"
    print(folded(f"{found.machine.title}: {error}, kept in {found.path}"))
    if quiet:
        return
    table(["constant", "value", "meaning"], [[c.name, show(c.value, c.unit), c.meaning] for c in found.constants])
    print(command(["dovetail", "estimate", "embedded", "--on", "host"]))
