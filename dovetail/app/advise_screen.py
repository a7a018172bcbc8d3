"""How advice looks in a terminal: the verdict, where each recipe pays, what it gains in every metric."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from dovetail.app.output import command, folded
from dovetail.app.table import table
from dovetail.core.errors import DovetailError

if TYPE_CHECKING:
    from dovetail.design.advice import Advice, Option, Span

_TITLES = {
    "tpot": "TPOT", "throughput": "tokens/s", "ttft": "TTFT", "usd_per_mtok": "price", "energy_per_token": "energy",
}  # fmt: skip
_MOST = 5  # batches in the table of gains
_RUNS = 3  # runs of batches in a cell


def numbers(text: str, where: str) -> list[int]:
    """Whole numbers between commas. Raises `DovetailError` for anything else."""
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words):
        raise DovetailError(f"'{text}' is not a list of whole numbers", where=where, hint="1-256, or 512,2048")
    return [int(word) for word in words]


def advise_screen(found: Advice, asked: Sequence[str], quiet: bool) -> None:
    """The verdict first; then where each recipe pays by context, and what it gains at the verdict's context.

    `asked` are the words of the question: model, machine and what differs from the defaults.
    """
    print(folded(f"{found.model.name} on {found.machine.label}: {found.verdict}", 2))
    for reason in found.why:
        print(folded(f"because     {reason}"))
    if quiet:
        return
    contexts = ", ".join(f"{c:,}" for c in found.contexts)
    first, last = found.batches[0], found.batches[-1]
    print(folded(f"asked       batch {first:,}–{last:,}, prompt {contexts}, output {found.output:,}, by {found.by}"))
    if found.feasible:
        rows = [_where(found, option) for option in found.options if _worth(found, option)]
        if rows:
            table(["recipe", "prompt", "surely pays", "too close", "loses", "gain at best", "fits", "without"], rows)
            _gains(found)
    for label, reasons in (("never pays", found.never), ("not here", found.excluded)):
        for why in dict.fromkeys(reasons.values()):
            names = ", ".join(name for name, reason in reasons.items() if reason == why)
            print(folded(f"{label:<12}{names}: {why}"))
    if found.too_long:
        longer = ", ".join(f"{c:,}" for c in found.too_long)
        print(folded(f"too long    {longer} + {found.output:,} tokens: the model holds {found.model.max_context:,}"))
    print(folded(_confidence(found)))
    print(command(_next(found, asked)))


def _next(found: Advice, asked: Sequence[str]) -> list[str]:
    if found.feasible:
        return ["dovetail", "advise", *asked, "--out", "advice"]
    smallest = ["--batch", str(found.batches[0]), "--prompt", str(found.contexts[0])]
    return ["dovetail", "estimate", *asked[:3], *smallest, "--explain", "memory"]


def _worth(found: Advice, option: Option) -> bool:
    """Whether an option has something to say: not the baseline, nor what never pays or fits nowhere."""
    return option.recipe not in ("none", *found.never) and bool(np.isfinite(option.value).any())


def _where(found: Advice, option: Option) -> list[str]:
    ratio = option.ratios[found.by]
    base = next(o for o in found.at(option.context) if o.recipe == "none")
    fits = [f"{o.largest_batch:,}" if o.largest_batch else "–" for o in (option, base)]
    best = "–"
    if np.isfinite(ratio.value).any():
        row = int(np.nanargmax(ratio.value))
        best = f"{ratio.value[row]:.2f}x [{ratio.low[row]:.2f} – {ratio.high[row]:.2f}]"
    ends = (option.pays(found.by), option.may_pay(found.by), option.loses(found.by))
    return [option.recipe, f"{option.context:,}", *map(_spans, ends), best, *fits]


def _spans(found: Sequence[Span]) -> str:
    """Runs of batches: the first ones where there are many."""
    words = [f"{first:,}" if first == last else f"{first:,}–{last:,}" for first, last in found]
    return ", ".join(words[:_RUNS]) + (" …" if len(words) > _RUNS else "") if words else "–"


def _gains(found: Advice) -> None:
    """How many times better than no recipe, by metric, at a few batches."""
    from dovetail.app.report.scales import evenly
    from dovetail.design.advice import shown

    chosen = evenly(shown(found.batches), _MOST)
    rows = [
        [option.recipe, f"{found.batches[row]:,}", *(_ratio(option.ratios[metric].value[row]) for metric in _TITLES)]
        for option in found.at(found.context)
        for row in chosen
        if _worth(found, option) and np.isfinite(option.ratios["tpot"].value[row])
    ]
    if rows:
        print(f"times better than no recipe at {found.context:,} tokens of context", end="")
        table(["recipe", "batch", *_TITLES.values()], rows)


def _ratio(value: float) -> str:
    return f"{value:.2f}x" if np.isfinite(value) else "–"


def _confidence(found: Advice) -> str:
    words = f"times {found.kind}, each within a factor {found.factor:.2f} without a recipe; in a ratio, what both "
    return f"confidence  {words}designs run alike cancels, the rest does not"
