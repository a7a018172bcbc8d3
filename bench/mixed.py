"""Bits of each layer by sensitivity and cost against sensitivity alone and against chance, at equal predicted latency.

    python bench/mixed.py                 # rounded to the nearest
    python bench/mixed.py --method gptq   # a quarter of an hour

The embedded model, groups of 32, widths of 2 to 8 bits, on a machine whose memory decides: time per token as predicted
for `raspberry-pi-5` at batch 1 may not exceed the mean of those of 3 and of 4 bits everywhere. Against

- sensitivity alone: from the fewest bits on, the group whose predicted loss falls most gets the next width, whatever
  it costs, as long as the time allows;
- the best of 32 random allocations, by the perplexity measured here: widths drawn for each group, then raised or
  lowered by chance until no raise fits.

All are carried out by the same method. Asked: at most 0.8 of their loss of perplexity, on held-out documents that no
choice but that among the random ones has seen.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from dovetail.design.allocation.allocate import WIDTHS, Base
from dovetail.design.allocation.prices import Array, Prices, offered, prices
from dovetail.design.allocation.programme import solve
from dovetail.design.compress import weights_of
from dovetail.design.resolve import Plan, as_machine
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.sensitivity import SAMPLES, How, sensitivity
from dovetail.runtime.bootstrap import interval, resampled
from dovetail.runtime.corpus import held_out_documents
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import Quality, perplexity
from dovetail.workload import Workload

MACHINE, GROUP, DRAWN = "raspberry-pi-5", 32, 32
TEXT_BYTES, CONTEXT = 120_000, 512
Picks = tuple[int, ...]


def time_of(found: Prices, picks: Picks) -> float:
    return found.predicted("tpot", picks)


def by_sensitivity(found: Prices, nats: Array, budget: float) -> Picks:
    """Widths by predicted losses alone."""
    picks = [0] * len(found.groups)
    while True:
        gains = [nats[i, p] - nats[i, p + 1] if p + 1 < nats.shape[1] else -1.0 for i, p in enumerate(picks)]
        for i in np.argsort(gains)[::-1]:
            raised = (*picks[:i], picks[i] + 1, *picks[i + 1 :])
            if gains[i] >= 0 and time_of(found, raised) <= budget:
                picks = list(raised)
                break
        else:
            return tuple(picks)


def by_chance(found: Prices, budget: float, draw: np.random.Generator) -> Picks:
    """Random widths, changed by chance until they fit and no raise does."""
    picks = list(draw.integers(len(WIDTHS), size=len(found.groups)))
    while time_of(found, tuple(picks)) > budget:
        i = draw.choice([i for i, p in enumerate(picks) if p])
        picks[i] -= 1
    while True:
        raised = [(*picks[:i], p + 1, *picks[i + 1 :]) for i, p in enumerate(picks) if p + 1 < len(WIDTHS)]
        fitting = [each for each in raised if time_of(found, each) <= budget]
        if not fitting:
            return tuple(int(p) for p in picks)
        picks = list(fitting[draw.integers(len(fitting))])


def bits_of(found: Prices, picks: Picks) -> dict[str, int]:
    return {t: found.widths[p] for g, p in zip(found.groups, picks, strict=True) for t in g.tensors}


def mean_bits(found: Prices, picks: Picks) -> float:
    sizes = np.array([g.elements for g in found.groups], float)
    return float(sizes @ np.array(found.widths)[list(picks)] / sizes.sum())


def executed(folder: Path, recipe: Recipe, documents: list[str]) -> Quality:
    """Quality of the model with a recipe carried out."""
    with tempfile.TemporaryDirectory(prefix="dovetail-bench-") as scratch:
        applied = Path(scratch) / "applied"
        recipe.apply(folder, applied, calibration=Calibration(samples=64))
        return perplexity(load(applied), documents, CONTEXT)


def ratio(dense: Quality, ours: Quality, theirs: Quality) -> tuple[float, float, float]:
    """Our loss of perplexity over theirs, with its 95 % interval over documents."""
    nats = np.array([[n for n, _ in quality.documents] for quality in (dense, ours, theirs)]).T
    tokens = np.array([t for _, t in dense.documents], float)

    def losses(means: np.ndarray) -> np.ndarray:
        before, one, other = np.exp(means).T
        found: np.ndarray = (one - before) / (other - before)
        return found

    value = float(losses((nats.sum(0) / tokens.sum())[None])[0])
    return value, *interval(resampled(nats, tokens, losses), value)


def compared(method: str, how: How, drawn: int) -> None:
    """The table of one method."""
    model, machine = Model.load("embedded"), as_machine(MACHINE)
    folder, base = weights_of(model), Base.of(Recipe.load([{method: {"bits": 4, "group": GROUP}}]))
    found = prices(model, machine, Plan(), Workload(), base.at, offered(model, machine, base.at, WIDTHS))
    groups = {g.name: g.tensors for g in found.groups}
    known = sensitivity(
        folder,
        groups,
        WIDTHS,
        base.method,
        how=how,
        calibration=Calibration(samples=SAMPLES),
    )
    nats = np.array(known.nats)
    budget = float(np.mean([time_of(found, (WIDTHS.index(bits),) * len(groups)) for bits in (3, 4)]))
    needs = [found.costs["tpot"][i, : len(WIDTHS)][:, None] for i in range(len(groups))]
    best = solve(list(nats), needs, np.array([budget - found.before["tpot"]]))
    assert best is not None
    draw = np.random.default_rng(0)
    choices = {"ours": best, "sensitivity alone": by_sensitivity(found, nats, budget)}
    choices |= {f"random {i}": by_chance(found, budget, draw) for i in range(drawn)}
    documents = held_out_documents(TEXT_BYTES)
    dense = perplexity(load(folder), documents, CONTEXT)
    measured = {}
    for name, picks in choices.items():
        measured[name] = executed(folder, base.mixed(bits_of(found, picks), name), documents)
        print(f"  {name:18} {measured[name].perplexity:.3f}", flush=True)
    predicted = {name: float(nats[np.arange(len(nats)), list(picks)].sum()) for name, picks in choices.items()}
    report(found, choices, predicted, dense, measured, f"{method}, {how} sensitivity")


def report(
    found: Prices, choices: dict[str, Picks], predicted: dict[str, float], dense: Quality, measured: dict[str, Quality],
    title: str,
) -> None:  # fmt: skip
    """Every choice that is compared, ours over each, and how well losses were predicted."""
    chance = min((name for name in measured if name.startswith("random")), key=lambda n: measured[n].perplexity)
    print(f"{title}: perplexity {dense.perplexity:.3f} as it is, {len(dense.documents)} documents")
    print(f"{'':18} {'bits':>6} {'tpot':>9} {'perplexity':>11} {'predicted':>10}   ours over it")
    for name in ("ours", "sensitivity alone", chance):
        value, low, high = ratio(dense, measured["ours"], measured[name])
        shown = f"{value:.3f}  [{low:.3f} – {high:.3f}]" if name != "ours" else ""
        expected = dense.perplexity * np.exp(predicted[name])
        time_us = time_of(found, choices[name]) * 1e6
        print(
            f"{name:18} {mean_bits(found, choices[name]):6.2f} {time_us:6.1f} µs {measured[name].perplexity:11.3f} "
            f"{expected:10.3f}   {shown}"
        )
    rises = np.array([np.log(q.perplexity / dense.perplexity) for q in measured.values()])
    off = rises / np.array([predicted[name] for name in measured])
    ranks = [np.argsort(np.argsort(each)) for each in (rises, [predicted[name] for name in measured])]
    low, middle, high = np.quantile(off, (0.05, 0.5, 0.95))
    print(
        f"measured over predicted rise of log perplexity, {len(off)} allocations: {middle:.2f} in the median, "
        f"{low:.2f} – {high:.2f} for nine in ten; rank correlation {np.corrcoef(*ranks)[0, 1]:.3f}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--method", choices=("rtn", "gptq"), default="rtn")
    options.add_argument("--how", choices=("measured", "second-order"), default="measured")
    options.add_argument("--random", type=int, default=DRAWN, metavar="N", help="allocations drawn")
    asked = options.parse_args()
    compared(asked.method, asked.how, asked.random)


if __name__ == "__main__":
    main()
