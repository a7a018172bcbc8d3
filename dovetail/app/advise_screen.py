"""How advice looks in a terminal: the verdict, where each recipe pays, what it gains in every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from dovetail.app.output import command, folded
from dovetail.app.table import table
from dovetail.core.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.design.advise import Advice, Option

_TITLES = {
    "tpot": "TPOT", "throughput": "tokens/s", "ttft": "TTFT", "usd_per_mtok": "price", "energy_per_token": "energy",
}  # fmt: skip
_MOST = 5  # batches in the table of gains


def numbers(text: str, where: str) -> list[int]:
    """Whole numbers between commas. Raises `DovetailError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise DovetailError(f"'{text}' is not a list of whole numbers", where=where, hint="1-256, or 512,2048")
    return [int(word) for word in words]


def advise_screen(found: Advice, model: str, on: str, quiet: bool) -> None:
    """The verdict first; then where each recipe pays by context, and what it gains at the verdict's context."""
    print(folded(f"{found.model.name} on {found.machine.label}: {found.verdict}", 2))
    if quiet:
        return
    contexts = ", ".join(f"{c:,}" for c in found.contexts)
    first, last = found.batches[0], found.batches[-1]
    print(folded(f"asked       batch {first:,}–{last:,}, prompt {contexts}, output {found.output:,}, by {found.by}"))
    header = ["recipe", "prompt", "largest batch", "surely pays to", "stops at", "loses from", "interval at first"]
    table(header, [_where(found, option) for option in found.options])
    _gains(found)
    for name, why in found.excluded.items():
        print(folded(f"not here    {name}: {why}"))
    print(folded(_confidence(found)))
    print(command(["dovetail", "advise", model, "--on", on, "--out", "advice"]))


def _where(found: Advice, option: Option) -> list[str]:
    gain, ratio = option.gain(found.by), option.ratios[found.by]
    fits = f"{option.largest_batch:,}" if option.largest_batch else "–"
    row = [option.recipe, f"{option.context:,}", fits]
    if option.recipe == "none" or np.isnan(ratio.value).all():
        return [*row, "–", "–", "–", "the baseline" if option.recipe == "none" else "nothing to compare"]
    ends = (gain.surely_until(), gain.stops_at(), gain.never_from())
    interval = f"{ratio.value[0]:.2f}x [{ratio.low[0]:.2f} – {ratio.high[0]:.2f}]"
    return [*row, *("–" if end is None else f"{end:,}" for end in ends), interval]


def _gains(found: Advice) -> None:
    """How many times better than no recipe, by metric, at a few batches."""
    from dovetail.app.report.scales import evenly
    from dovetail.design.advise import shown

    chosen = evenly(shown(found.batches), _MOST)
    rows = [
        [option.recipe, f"{found.batches[row]:,}", *(_ratio(option.ratios[metric].value[row]) for metric in _TITLES)]
        for option in found.at(found.context)
        for row in chosen
        if option.recipe != "none" and np.isfinite(option.ratios["tpot"].value[row])
    ]
    if rows:
        print(f"times better than no recipe at {found.context:,} tokens of context", end="")
        table(["recipe", "batch", *_TITLES.values()], rows)


def _ratio(value: float) -> str:
    return f"{value:.2f}x" if np.isfinite(value) else "–"


def _confidence(found: Advice) -> str:
    words = f"times {found.kind}, each within a factor {found.factor:.2f} without a recipe; in a ratio, what both "
    return f"confidence  {words}designs run alike cancels, the rest does not"
