"""What the demo's report says: the first screen, and a section for each question."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

from dovetail.app.demo import choices
from dovetail.app.demo.found import HOST, WINNER, Found
from dovetail.app.figures import crossover, measured, memory_bars, roofline
from dovetail.app.question import Question
from dovetail.app.report import Commands, Report, Section, Summary, Table, searched
from dovetail.core.units import show
from dovetail.design.estimate import Estimate, estimate
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.workload import Workload


def full_report(found: Found, out: Path, manifest: Mapping[str, object]) -> Report:
    """Everything, for the page."""
    large = Model.load(choices.LARGE_MODEL)
    chip = load_machine(choices.LARGE_CHIP)
    scales = (choices.CROSSOVER_RECIPES, choices.CROSSOVER_BATCHES, choices.CROSSOVER_CONTEXTS)
    here = estimate(found.model, found.host, Workload(**choices.WORKLOAD))
    single = estimate(large, chip, Workload(prompt=2048, output=256, batch=8))
    gain = "Predicted time per output token of the recipe 'none' over that of each method."
    little = (
        f"A model of {found.model.parameters:,} parameters is launch overhead at small batches and KV cache at "
        "large ones: little is left to gain."
    )
    sections: list[Section] = [
        _described(found),
        _machines(found),
        _measured(found),
        _recipes(found),
        crossover(large, chip, *scales, note=gain),
        crossover(found.model, found.winner.machine, *scales, note=little),
        *_searched(found),
        _predictions(found),
        memory_bars(_same_workload(found), f"Memory at the winner's workload on {found.winner.machine.title}"),
        roofline(here, f"Roofline of {found.model.name} on this computer"),
        roofline(
            single, f"Roofline of {large.name} on {chip.title}", "Batch 8, 2,048 tokens of prompt, 256 of output."
        ),
        _commands(out, found),
    ]
    subtitle = f"{found.model.parameters:,} parameters, {choices.WORDS}"
    return Report(
        "Dovetail demo: a model and its hardware, chosen together", _summary(found, out), sections, manifest, subtitle
    )


def screen_report(found: Found, out: Path) -> Report:
    """One screen, for the terminal."""
    return Report("Dovetail demo", _summary(found, out), [_recipes(found), _worst(found)])


def _errors(found: Found) -> list[float]:
    return [abs(r.error) for r in found.rows if r.error is not None]


def _summary(found: Found, out: Path) -> Summary:
    w = found.winner
    price = w.usd_per_mtok
    words = f"{show(price.value, 'USD/Mtok')} of output" if price else "no rent known"
    interval = f", between {show(price.low, 'USD/Mtok')} and {show(price.high, 'USD/Mtok')}" if price else ""
    errors = _errors(found)
    confidence = (
        f"{w.kind} on {w.machine.name}; on this computer {len(errors)} predictions are off by {median(errors):.0%} "
        f"(median), {max(errors):.0%} at worst"
    )
    bottleneck = f"decode: {w.bottleneck()['decode']}"
    after = _measure(out) if found.built["path"] else shlex.join(_asked(found, out).command("explain", "tpot"))
    return Summary(_answer(found), bottleneck, words + interval, confidence, after, _facts(found, out))


def _answer(found: Found) -> str:
    w, work = found.winner, found.winner.workload
    quality = found.tried[w.recipe.name].quality.perplexity / found.tried["none"].quality.perplexity - 1
    answer = (
        f"{w.recipe.name} on {w.machine.title} at batch {work.batch}, prompts of {work.prompt:,} tokens: "
        f"{show(w.tpot.value, 's')} a token, {w.throughput.value:,.0f} tok/s, perplexity {quality:+.1%}"
    )
    if found.result.winner:
        return answer
    shown = "nearest" if found.result.nearest else "the model as it was measured here"
    return f"nothing meets the constraint ({found.result.why}); {shown}: {answer}"


def _facts(found: Found, out: Path) -> list[tuple[str, str]]:
    w, r = found.winner, found.result
    before, after = (show(found.tried[name].bytes, "byte") for name in ("none", w.recipe.name))
    return [
        ("Constraint", choices.WORDS),
        ("Searched", f"{r.points:,} designs, {r.evaluated:,} evaluated, exact front of {len(r.front):,}"),
        ("Weights", f"{before} before, {after} after"),
        ("Energy", show(w.energy_per_token.value, "J/tok")),
        ("Serve", found.built["serve"] or found.built["serve_why"]),
        ("Report", str(out / "report.html")),
        ("Took", f"{found.seconds:.0f} s"),
    ]


def _measure(out: Path) -> str:
    """The command that measures the winner here, predicted by the demo's own calibration of this computer."""
    return shlex.join(["dovetail", "measure", str(out / WINNER), "--on", str(out / HOST)])


def _recipes(found: Found) -> Table:
    base = found.tried["none"]
    rows = [
        [
            t.recipe, show(t.bytes, "byte"), f"{t.quality.perplexity:.3f}",
            f"{t.quality.perplexity / base.quality.perplexity - 1:+.1%}", f"{t.quality.bits_per_byte:.3f}",
            f"{t.prefill.tokens_per_s:,.0f}", f"{t.decode.tokens_per_s:,.1f}",
        ]
        for t in found.tried.values()
    ]  # fmt: skip
    header = ["recipe", "weights", "perplexity", "change", "bits/byte", "prefill tok/s", "decode tok/s"]
    note = (
        f"Applied for real and measured on this computer ({base.prefill.threads} threads), on {base.quality.tokens:,} "
        "tokens of held-out text. transformers unpacks weights at load on a CPU, so recipes change size and quality "
        "here, not speed."
    )
    return Table(f"{len(rows)} recipes, applied and measured here", header, rows, numeric=(1, 2, 3, 4, 5, 6), note=note)


def _described(found: Found) -> Table:
    """The model and the question asked of it."""
    m, arch = found.model, found.model.architecture
    rows = [
        ["parameters", f"{m.parameters:,}"], ["layers", f"{m.layers}"], ["hidden channels", f"{arch.hidden}"],
        ["heads (query / KV)", f"{arch.first('heads')} / {arch.first('kv_heads')}"],
        ["feed-forward channels", f"{arch.first('intermediate')}"], ["vocabulary", f"{arch.vocab:,}"],
        ["longest context", f"{m.max_context:,}"], ["KV cache per token", show(m.kv_bytes_per_token, "byte")],
        ["workload measured here", ", ".join(f"{k} {v}" for k, v in choices.WORKLOAD.items())],
    ]  # fmt: skip
    return Table(
        f"The model: {m.name}, {arch.family}", ["", "value"], rows, numeric=(1,), note=f"Asked for: {choices.WORDS}."
    )


def _machines(found: Found) -> Table:
    """The machines: twelve chips, and this computer as it was just calibrated."""
    rows = []
    for m in [*(load_machine(name) for name in choices.CHIPS), found.host]:
        dtype = "bf16" if "bf16" in m.peak else next(iter(m.peak))
        rows.append([
            m.title, f"{dtype} {show(float(m.peak[dtype]), 'flop/s')}", show(float(m.memory.bandwidth), "byte/s"),
            show(float(m.memory.capacity), "byte"), show(float(m.tdp_w), "W"), f"${float(m.usd_per_hour):.2f}",
            m.source("efficiency").kind,
        ])  # fmt: skip
    header = ["machine", "peak", "bandwidth", "memory", "power", "$/h", "constants"]
    note = "Constants are calibrated where kernels were measured, modelled where borrowed from a measured relative."
    return Table("The machines", header, rows, numeric=(1, 2, 3, 4, 5), note=note)


def _measured(found: Found) -> Section:
    errors = _errors(found)
    return measured(
        found.rows,
        "Predicted beside measured, on this computer",
        f"Constants from a {choices.CALIBRATION_SECONDS:g}-second calibration on other, random models; "
        f"median error {median(errors):.0%}.",
    )


def _worst(found: Found) -> Table:
    rows = sorted((r for r in found.rows if r.error is not None), key=lambda r: -abs(r.error or 0))
    cells = [
        [
            r.what,
            r.metric,
            show(r.predicted.value, r.predicted.unit),
            show(r.measured.value, r.measured.unit),
            f"{r.error:+.0%}",
        ]
        for r in rows[:4]
        if r.measured is not None
    ]
    title = f"Predicted beside measured here: the four worst of {len(rows)}"
    return Table(title, ["recipe", "metric", "predicted", "measured", "error"], cells, numeric=(2, 3, 4))


def _searched(found: Found) -> Iterator[Section]:
    """The search: its front by price and time, all choices, what decides, what wins where, why not others."""
    return searched.sections({**found.result.to_json(), "landscape": found.around}, ("usd_per_mtok", "tpot"))


def _predictions(found: Found) -> Table:
    rows = []
    for e in found.predictions:
        price = e.usd_per_mtok
        rows.append([
            e.machine.name, e.recipe.name, show(e.ttft.value, "s"), show(e.tpot.value, "s"),
            show(e.energy_per_token.value, "J/tok"), show(e.memory()["total"].value, "byte"),
            show(price.value, "USD/Mtok") if price else "–", e.kind,
        ])  # fmt: skip
    header = ["machine", "recipe", "TTFT", "TPOT", "energy", "memory", "price", "kind"]
    words = ", ".join(f"{name} {value}" for name, value in choices.WORKLOAD.items())
    return Table("Every recipe on every machine, predicted", header, rows, numeric=(2, 3, 4, 5, 6), note=f"At {words}.")


def _same_workload(found: Found) -> list[Estimate]:
    return [estimate(found.model, found.winner.machine, found.winner.workload, name) for name in choices.RECIPES]


def _asked(found: Found, out: Path) -> Question:
    """The question whose answer the winner is."""
    w, work = found.winner, found.winner.workload
    on = str(out / HOST) if w.machine.name == "host" else w.machine.name
    return Question(choices.MODEL, on, int(work.batch), int(work.prompt), int(work.output), w.recipe.name)


def _commands(out: Path, found: Found) -> Commands:
    asked = _asked(found, out)
    other = Question("Qwen/Qwen3-8B", "h200-sxm", 32, 2048, 256)
    commands = [
        ("where its time per token comes from", shlex.join(asked.command("explain", "tpot"))),
        ("the same question for a model of yours", shlex.join(other.command("estimate"))),
    ]
    if found.built["path"]:
        commands.insert(0, ("measure the winner's checkpoint here", _measure(out)))
    if found.built["serve"]:
        commands.insert(0, ("serve the winner", found.built["serve"]))
    return Commands("Next", commands)
