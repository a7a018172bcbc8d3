"""`crossbar sim` and `crossbar map`: a model's quality on simulated arrays, and what it would take to build them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Quantity, exact
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.arrange import Choosing, arranged, fitted
from dovetail.crossbar.calibrate import calibrated
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import needed_bits
from dovetail.crossbar.cost import Cost, by_model
from dovetail.crossbar.layer import Layer, Setup
from dovetail.crossbar.mapping import Mapping as OnCrossbars
from dovetail.crossbar.mapping import map_graph
from dovetail.crossbar.network import Placed, digital, on_crossbars
from dovetail.crossbar.plan import choices, planned, within
from dovetail.crossbar.repair import repaired
from dovetail.design.quality import CONTEXT, check_text, quality_text
from dovetail.design.resolve import as_machine, as_model, weights_of
from dovetail.hardware.adc import MODELS, adc_model
from dovetail.hardware.crossbar_parts import ISAAC, SOURCE, SOURCES
from dovetail.hardware.machine import Machine
from dovetail.hardware.templates.crossbar import Crossbar
from dovetail.model import Model
from dovetail.runtime.load import Loaded, load
from dovetail.runtime.perplexity import Quality, encoded, token_nats

Report = Callable[[str], None]
_SIMULATED = "our crossbar simulator"


@dataclass(frozen=True, slots=True)
class Simulation:
    """What `simulate` is asked beside the model.

    Parameters
    ----------
    setup : Setup
    grid : FixedPoint
    adc_model : str
        Prices the headline; the answer holds all of them.
    text : Path or None
        None for held-out text of the standard library.
    tokens : int
        Of the text that are scored.
    sweep : tuple of int
        Bits of all converters at which quality is measured too.
    budget : float or None
        Relative growth of perplexity that planned converters may cost; None: no plan.
    leave : tuple of str
        Globs of modules that stay digital.
    repair : bool
        Write slice by slice, around what each chip's cells turned out to be.
    arrange : int or None
        Take the choices that cost no quality, with so many widths of converters an array; None: none.
    """

    setup: Setup = field(default_factory=Setup)
    grid: FixedPoint = field(default_factory=FixedPoint)
    adc_model: str = "isaac_cdac"
    text: Path | None = None
    tokens: int = 2048
    sweep: tuple[int, ...] = ()
    budget: float | None = None
    leave: tuple[str, ...] = ()
    repair: bool = False
    arrange: int | None = None

    def __post_init__(self) -> None:
        if self.arrange is not None:
            Choosing(widths=self.arrange)
            if self.sweep:
                why = "arranged arrays have converters that lose nothing, whatever number of bits is asked"
                hint = "--budget plans fewer bits for them"
                raise DovetailError("no sweep of arranged converters", where="sweep", why=why, hint=hint)


def simulate(model: Model | str, asked: Simulation | None = None, report: Report = lambda line: None) -> dict[str, Any]:
    """Perplexity of a model whose linear layers run on arrays, and what they cost.

    Returns
    -------
    dict
        ``quality, nonzero_slices, adc_bits, energy, area`` and more; physical quantities as JSON objects.

    Raises
    ------
    DovetailError
        No weights, a text without tokens, weights that are not finite, converters that cannot be.
    """
    asked = asked or Simulation()
    adc_model(asked.adc_model)
    folder = weights_of(as_model(model))
    check_text(folder, asked.text)
    loaded, (words, label) = load(folder), quality_text(asked.text)
    report("measuring the model as it is")
    before = measure(loaded, words, asked.tokens)
    prepared = _calibrating(asked, loaded, words, report)
    report(f"measuring it on arrays: {asked.setup.adc.kind} converters")
    with on_crossbars(loaded.model, asked.setup, asked.grid, leave=asked.leave, change=prepared) as placed:
        after = measure(loaded, words, asked.tokens)
        costs = by_model([each.work() for each in placed])
        facts = _facts(placed, asked)
    return {
        "model": as_model(model).name, "text": label, "tokens": after.tokens,
        "quality": as_perplexity(after, label).to_json(), "quality_digital": as_perplexity(before, label).to_json(),
        "ratio": after.perplexity / before.perplexity, **facts, **_priced(costs, asked.adc_model),
        "stays_digital": [{"module": kind, "count": count} for kind, count in digital(loaded.model).items()],
        "by_bits": [_at_bits(loaded, words, asked, bits, before, report) for bits in asked.sweep],
        "plan": None if asked.budget is None else _planned(loaded, words, asked, asked.budget, before, report),
    }  # fmt: skip


def measure(loaded: Loaded, texts: Sequence[str], tokens: int) -> Quality:
    """Perplexity over the first tokens of the texts, an equal share of each, in windows that do not overlap."""
    documents = encoded(loaded, texts)
    share = max(2, -(-tokens // len(documents)))
    context, pieces, scored = min(CONTEXT, loaded.max_context), [], 0
    for ids, size in documents:
        kept = ids[: share + 1]
        nats = token_nats(loaded, kept, context, context)
        pieces.append((float(nats.sum()), len(nats)))
        scored += size * len(nats) // max(1, len(ids) - 1)
    return Quality.of(pieces, max(1, scored))


def as_perplexity(found: Quality, label: str) -> Quantity:
    """A measured perplexity with its interval."""
    low, high = found.perplexity_interval
    return Quantity(found.perplexity, low, high, "perplexity", "measured", f"{label}, {found.tokens} tokens")


def _calibrating(
    asked: Simulation, loaded: Loaded, words: Sequence[str], report: Report
) -> Callable[[str, Layer], Layer]:  # fmt: skip
    """What a written layer becomes: arranged, repaired, its converters calibrated on the end of the text."""
    mended = _mapped(asked)
    if asked.setup.adc.kind != "calibrated":
        return lambda name, layer: mended(layer)
    report("looking at the sums of bitlines")
    samples = _samples(loaded, words, asked)
    return lambda name, layer: calibrated(mended(layer), samples[name])


def _mapped(asked: Simulation) -> Callable[[Layer], Layer]:
    """What stands in the arrays: free choices are made before cells are written around their defects."""

    def mapped(layer: Layer) -> Layer:
        if asked.arrange is not None:
            layer = arranged(layer, adc_model(asked.adc_model), Choosing(widths=asked.arrange))
        if not asked.repair:
            return layer
        written = repaired(layer)
        return written if asked.arrange is None else fitted(written, adc_model(asked.adc_model))

    return mapped


def _samples(loaded: Loaded, words: Sequence[str], asked: Simulation) -> dict[str, Any]:
    """Inputs of every layer on text that is not scored: the ends of the documents."""
    ideal = replace(asked.setup, adc=Adc("ideal"))
    with on_crossbars(loaded.model, ideal, asked.grid, leave=asked.leave) as placed:
        measure(loaded, [text[-len(text) // 4 :] for text in words], 256)
        return {each.name: each.sample for each in placed}


def _at_bits(
    loaded: Loaded, words: Sequence[str], asked: Simulation, bits: int, before: Quality, report: Report
) -> dict[str, Any]:  # fmt: skip
    report(f"measuring it with {bits} bits")
    at = replace(asked, setup=replace(asked.setup, adc=replace(asked.setup.adc, bits=bits)))
    prepared = _calibrating(at, loaded, words, lambda line: None)
    with on_crossbars(loaded.model, at.setup, at.grid, leave=at.leave, change=prepared) as placed:
        found = measure(loaded, words, asked.tokens)
        costs = by_model([each.work() for each in placed])
    energy = {name: costs[name].energy_j["adc"] for name in MODELS}
    return {"bits": bits, "perplexity": found.perplexity, "ratio": found.perplexity / before.perplexity,
            "adc_energy_j": energy}  # fmt: skip


def _planned(
    loaded: Loaded, words: Sequence[str], asked: Simulation, budget: float, before: Quality, report: Report
) -> dict[str, Any]:  # fmt: skip
    """Converters of as few bits as a budget of perplexity allows; the budget is met on text that is not scored."""
    model = adc_model(asked.adc_model)
    report("planning converters")
    samples, held = _samples(loaded, words, asked), [text[-len(text) // 4 :] for text in words]
    wide = replace(asked.setup, adc=Adc("saturating", 9))
    mended = _mapped(asked)
    with on_crossbars(
        loaded.model, wide, asked.grid, leave=asked.leave, change=lambda name, layer: mended(layer)
    ) as placed:
        offered = [choices(each.layer, samples[each.name], model) for each in placed]
        layers, limit = [each.layer for each in placed], measure(loaded, held, 512).perplexity * (1 + budget)

        def apply(bits: Sequence[Any]) -> None:
            for each, layer, offer, chosen in zip(placed, layers, offered, bits):
                each.change(planned(layer, offer, chosen))

        def good(made: Any) -> bool:
            apply(made.bits)
            return measure(loaded, held, 512).perplexity <= limit

        best = within(offered, good, (1e-8, 1e-1))
        apply(best.bits)
        found = measure(loaded, words, asked.tokens)
        costs = by_model([each.work() for each in placed])
        bits = np.stack([_bits_of_slices(each.layer) for each in placed])
    eight = plan_of_eight(offered)
    return {
        "perplexity": found.perplexity, "ratio": found.perplexity / before.perplexity, "budget": budget,
        "mean_bits": bits.mean(axis=0).tolist(), "adc_energy_j": {n: costs[n].energy_j["adc"] for n in MODELS},
        "saves_against_8_bits": eight / max(best.energy_j, 1e-300),
    }  # fmt: skip


def plan_of_eight(offered: Sequence[Any]) -> float:
    """What 8 bits everywhere would take, by the same model, J a vector."""
    return float(sum(each.energy[:, 8].sum() for each in offered))


def _bits_of_slices(layer: Layer) -> Any:
    """Mean bits of the converters that are used, by slice."""
    live = layer.statistics.highest > layer.statistics.lowest
    used = np.where(live, layer.converters.bits, 0).sum(axis=(0, 2, 3))
    return used / np.maximum(live.sum(axis=(0, 2, 3)), 1)


def _facts(placed: Sequence[Placed], asked: Simulation) -> dict[str, Any]:
    """Slices, sums and bits over all layers, the lowest slice first."""
    count = np.array([each.layer.codes.values.size for each in placed], float)
    nonzero = np.stack([each.layer.statistics.nonzero_slices for each in placed])
    needed = np.stack([each.layer.statistics.bits.max(axis=(0, 2, 3)) for each in placed])
    slices = asked.setup.cells.slices(asked.grid.bits)
    done = [each.work() for each in placed]
    converted, skipped = sum(w.conversions.sum() for w in done), sum(w.skipped for w in done)
    live = [each.live / max(1, each.cycles) for each in placed]
    idle = sum(w.conversions.sum() / share * (1 - share) for w, share in zip(done, live) if share)
    return {
        "nonzero_slices": (count @ nonzero / count.sum()).tolist(),
        "adc_bits": _adc_bits(placed, slices, asked), "arranged": _arranged(placed),
        "needed_bits": needed.max(axis=0).tolist(),
        "adc": asked.setup.adc.kind, "encoding": asked.setup.cells.encoding, "cell_bits": asked.setup.cells.bits,
        "array": [asked.setup.arrays.rows, asked.setup.arrays.columns], "layers": len(placed),
        "arrays": sum(w.arrays for w in done), "conversions": float(converted), "skipped": float(skipped),
        "skipped_share": float(skipped / (converted + skipped)), "idle_cycles": float(idle),
        "smaller_than_array": [each.name for each in placed if each.layer.codes.shape[1] < asked.setup.arrays.rows][:8],
        "column_sums": _column_sums(placed, slices, asked),
    }  # fmt: skip


def _adc_bits(placed: Sequence[Placed], slices: int, asked: Simulation) -> list[int] | None:
    """Bits of each slice's converters, the widest where they differ; None where they are ideal."""
    if asked.arrange is not None:
        return [max(int(each.layer.converters.bits[:, k].max()) for each in placed) for k in range(slices)]
    return asked.setup.adc.of_slices(slices).tolist() if asked.setup.adc.kind != "ideal" else None


def _arranged(placed: Sequence[Placed]) -> dict[str, float] | None:
    """Shares of columns with balanced digits, of bitlines whose currents subtract, and of inputs that moved."""
    made = [each.layer.arrangement for each in placed if each.layer.arrangement is not None]
    if not made:
        return None
    moved = np.concatenate([each.order != np.arange(len(each.order)) for each in made])
    return {
        "widths": made[0].widths, "balanced": float(np.concatenate([each.balanced.ravel() for each in made]).mean()),
        "paired": float(np.concatenate([each.paired.ravel() for each in made]).mean()), "moved": float(moved.mean()),
        "mean_bits": float(np.concatenate([b[b > 0] for b in (each.layer.converters.bits for each in placed)]).mean()),
    }  # fmt: skip


def _column_sums(placed: Sequence[Placed], slices: int, asked: Simulation) -> list[dict[str, Any]]:
    """By slice: how many bitlines need how many bits, and what share of them the converters hold for any input."""
    rows = []
    for k in range(slices):
        parts = [each.layer.statistics for each in placed]
        bits = np.concatenate([needed_bits(s.highest[:, k], s.lowest[:, k]).ravel() for s in parts])
        held = np.concatenate([_held(each.layer)[:, k].ravel() for each in placed])
        rows.append({"slice": k, "bitlines_by_bits": np.bincount(bits, minlength=13).tolist(),
                     "held": float(held.mean())})  # fmt: skip
    return rows


def _held(layer: Layer) -> Any:
    return layer.converters.lossless(layer.statistics.highest, layer.statistics.lowest)


def _priced(costs: Mapping[str, Cost], name: str) -> dict[str, Any]:
    chosen = costs[name]
    source = f"{SOURCE}; converters: {chosen.adc}, {MODELS[name].source}"
    return {
        "adc_model": chosen.adc,
        "energy": exact(chosen.energy, "J/tok", "modelled", source).to_json(),
        "area": exact(chosen.area, "mm2", "modelled", source).to_json(),
        "time": exact(chosen.time_s, "s", "modelled", source).to_json(),
        "interval": exact(chosen.interval_s, "s", "modelled", source).to_json(),
        "by_model": [{"model": each.adc, "energy_j": each.energy, "adc_j": each.energy_j["adc"],
                      "area_mm2": each.area, "adc_mm2": each.area_mm2["adc"], "interval_s": each.interval_s,
                      "parts_j": each.energy_j} for each in costs.values()],
    }  # fmt: skip


def map_model(
    model: Model | str, setup: Setup | None = None, code_bits: int = 8, *, adc: str = "isaac_cdac",
    beside: str = "jetson-orin", context: int = 2048,
) -> dict[str, Any]:  # fmt: skip
    """Which operators of a model go to arrays, how many, what a token takes, and the machine for `estimate`.

    Returns
    -------
    dict
        ``arrays, operators, digital, tpot, energy_per_token, area, bottleneck, writing, machine`` and more.

    Raises
    ------
    DovetailError
        An unknown model, machine or ADC model.
    """
    setup, known, chip = setup or Setup(), as_model(model), as_machine(beside)
    graph = known.graph(tokens=1, context=context - 1)
    found = map_graph(graph, setup, code_bits, adc_model(adc), chip)
    source = f"{SOURCE}; converters: {found.adc}; digital: {chip.label}"

    def q(value: float, unit: str, text: str = source) -> dict[str, Any]:
        return exact(value, unit, "modelled", text).to_json()

    done = found.writing
    return {
        "model": known.name, "beside": chip.label, "adc_model": found.adc, "context": context,
        "arrays": found.count, "array": [setup.arrays.rows, setup.arrays.columns],
        "encoding": setup.cells.encoding, "cell_bits": setup.cells.bits, "weights": found.weights,
        "tpot": q(found.tpot_s, "s"), "interval": q(found.interval_s, "s"),
        "energy_per_token": q(found.energy_j, "J/tok"), "area": q(found.area_mm2, "mm2"),
        "bottleneck": found.bottleneck, "arrays_s": found.array_s, "digital_s": found.digital_s,
        "operators": [{"name": each.name, "layers": each.repeat, "arrays": each.arrays, "energy_j": each.energy_j,
                       "time_s": each.time_s, "adc_share": each.cost.energy_j["adc"] / each.cost.energy}
                      for each in found.arrays],
        "digital": [{"name": each.name, "why": each.why, "time_s": each.time_s, "energy_j": each.energy_j}
                    for each in found.digital],
        "writing": {
            "time": q(done.time_s, "s", SOURCES["write"]), "energy": q(done.energy_j, "J", SOURCES["write"]),
            "years_of_hourly_rewrites": done.years, "endurance": ISAAC.endurance,
            "endurance_source": SOURCES["endurance"],
            "kv_per_token": {"time": q(done.kv_time_s, "s", SOURCES["write"]),
                             "energy": q(done.kv_energy_j, "J", SOURCES["write"])},
        },
        "machine": machine_of(found, setup, chip, known.name).text(),
    }  # fmt: skip


def machine_of(found: OnCrossbars, setup: Setup, chip: Machine, name: str) -> Crossbar:
    """The crossbar machine that holds exactly this model, for `estimate` and `search`."""
    tiles = found.count / ISAAC.tile_arrays
    slowest = max((each.cost for each in found.arrays), key=lambda each: each.interval_s)
    joules = sum(each.energy_j * (1 - each.cost.energy_j["tile"] / each.cost.energy) for each in found.arrays)
    cells = f"{setup.cells.bits} bits a cell, {setup.cells.encoding}"
    called = f"crossbar-{name.rpartition('/')[2].lower()}"
    return Crossbar(
        called, chip, found.count, setup.arrays.rows, setup.arrays.columns, cells,
        found.weights, slowest.interval_s, slowest.time_s, joules,  # tiles draw their power all the while: below
        tiles * ISAAC.tile_w, found.area_mm2, f"{SOURCE}; ADC: {found.adc}",
    )  # fmt: skip
