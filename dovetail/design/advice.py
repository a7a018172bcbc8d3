"""What advice is: how many times better each recipe is than none, at every batch and context, and what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from dovetail.core.quantity import Kind, Quantity
from dovetail.design.crossover import Gain
from dovetail.design.estimate import MODEL
from dovetail.design.ratio import Ratio
from dovetail.hardware.machine import Machine
from dovetail.model import Model

BASELINE = "none"
_SAME = 1.0 + 1e-9  # what rounding makes of no difference at all

Span = tuple[int, int]


def spans(batches: np.ndarray, held: np.ndarray) -> list[Span]:
    """First and last batch of every run of neighbouring batches at which something holds."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], held, [False]]).astype(np.int8)))
    return [(int(batches[first]), int(batches[end - 1])) for first, end in edges.reshape(-1, 2)]


@dataclass(frozen=True, slots=True)
class Option:
    """One recipe at one context: how many times better than no recipe at every batch, by metric; what fits."""

    recipe: str
    context: int
    batch: np.ndarray
    value: np.ndarray  # of the metric that decides, NaN where it does not fit
    ratios: dict[str, Ratio]
    largest_batch: int

    def gain(self, metric: str) -> Gain:
        """The ratio as a crossover knows it."""
        found = self.ratios[metric]
        return Gain(self.recipe, self.context, self.batch, found.value, found.low, found.high)

    def pays(self, metric: str) -> list[Span]:
        """Where it surely pays: batches at which the whole interval of the ratio lies above 1."""
        return spans(self.batch, self.ratios[metric].low > _SAME)

    def may_pay(self, metric: str) -> list[Span]:
        """Where it is too close to call: the interval holds 1 and more."""
        found = self.ratios[metric]
        return spans(self.batch, (found.high > _SAME) & ~(found.low > _SAME))

    def loses(self, metric: str) -> list[Span]:
        """Where it surely loses: the whole interval lies below 1."""
        return spans(self.batch, self.ratios[metric].high * _SAME < 1.0)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring batches with one answer: `recipe` pays (its gain at the first of them), or a word says what else."""

    first: int
    last: int
    answer: str
    gain: float


@dataclass(frozen=True, slots=True)
class Advice:
    """What `advise` found.

    `excluded` are the recipes that do not run there, and `never` those that run and never pay by `by`, each with why;
    `too_long` are the contexts that the model does not hold. Where not even one design fits, `why` says what binds.
    """

    model: Model
    machine: Machine
    by: str
    output: int
    batches: np.ndarray
    contexts: tuple[int, ...]
    options: tuple[Option, ...]
    excluded: dict[str, str]
    factor: float
    kind: Kind
    never: dict[str, str]
    too_long: tuple[int, ...] = ()
    why: tuple[str, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether any design fits."""
        return not self.why

    @property
    def context(self) -> int:
        """The context that the verdict is about: the one nearest to 2,048 tokens."""
        return min(self.contexts, key=lambda c: abs(np.log(c / 2048)))

    def at(self, context: int) -> list[Option]:
        """The options at one context, no recipe first."""
        return [option for option in self.options if option.context == context]

    def stretches(self, context: int) -> list[Stretch]:
        """What to use at `context`, from the smallest batch to the largest."""
        here, found = self.at(context), []
        answers = [_answer(here, self.by, row) for row in range(self.batches.size)]
        for _, rows in groupby(range(self.batches.size), key=lambda row: _kind(answers[row][0])):
            held = list(rows)
            first, last = (int(self.batches[row]) for row in (held[0], held[-1]))
            found.append(Stretch(first, last, *answers[held[0]]))
        return found

    @property
    def verdict(self) -> str:
        """One line: what pays until where at `context`."""
        words = [_words(stretch) for stretch in self.stretches(self.context)]
        return f"at {self.context:,} tokens of context: " + "; ".join(words)

    def to_json(self) -> dict[str, Any]:
        """The stable object of ``dovetail advise --json``: intervals of every ratio at powers of two of the batch."""
        return {
            "model": self.model.name, "machine": self.machine.name, "on": self.machine.label, "by": self.by,
            "verdict": self.verdict, "output": self.output, "contexts": list(self.contexts),
            "batches": [int(self.batches[0]), int(self.batches[-1])],
            "feasible": self.feasible, "why": list(self.why), "too_long": list(self.too_long),
            "best": [
                {"context": c, "first": s.first, "last": s.last, "use": s.answer, "gain": s.gain}
                for c in self.contexts for s in self.stretches(c)
            ],
            "recipes": [self._row(option) for option in self.options],
            "gains": [point for option in self.options for point in self._points(option)],
            "never_pays": [{"recipe": name, "why": why} for name, why in self.never.items()],
            "excluded": [{"recipe": name, "why": why} for name, why in self.excluded.items()],
        }  # fmt: skip

    def _row(self, option: Option) -> dict[str, Any]:
        gain = option.gain(self.by)
        return {
            "recipe": option.recipe, "context": option.context, "largest_batch": option.largest_batch,
            "pays": option.pays(self.by), "too_close": option.may_pay(self.by), "loses": option.loses(self.by),
            "surely_until": gain.surely_until(), "stops_at": gain.stops_at(), "never_from": gain.never_from(),
        }  # fmt: skip

    def _points(self, option: Option) -> list[dict[str, Any]]:
        return [
            {"recipe": option.recipe, "context": option.context, "batch": int(self.batches[row])}
            | {metric: self.quantity(found, row).to_json() for metric, found in option.ratios.items()}
            for row in shown(self.batches)
            if option.recipe != BASELINE and not all(same(found) for found in option.ratios.values())
        ]

    def quantity(self, found: Ratio, row: int) -> Quantity:
        """One ratio with its interval."""
        value, low, high = (float(a[row]) for a in (found.value, found.low, found.high))
        return Quantity(value, low, high, "x", found.kind, f"{MODEL}, {self.machine.name}")


def same(found: Ratio) -> bool:
    """Whether a recipe makes no difference at all, wherever there is something to compare."""
    ends = np.stack([found.low, found.high])
    return bool(np.all(np.isnan(ends) | ((ends < _SAME) & (ends * _SAME > 1.0))))


def shown(batches: np.ndarray) -> list[int]:
    """Rows of the batches that are shown: powers of two, the first and the last."""
    powers = [int(np.searchsorted(batches, 2**i)) for i in range(int(batches[-1]).bit_length())]
    return sorted({0, batches.size - 1} | {row for row in powers if row < batches.size})


def _answer(here: Sequence[Option], by: str, row: int) -> tuple[str, float]:
    """What to use at one batch, and what it gains: the best of what surely pays, or why none is."""
    base, *others = here
    fitting = [o for o in others if np.isfinite(o.value[row])]
    if not np.isfinite(base.value[row]):
        better = max if by == "throughput" else min
        return (f"only:{better(fitting, key=lambda o: float(o.value[row])).recipe}" if fitting else "nothing", np.nan)
    gains = {o.recipe: o.ratios[by] for o in fitting}
    best = max(gains, key=lambda name: float(gains[name].value[row]), default="")
    sure = [name for name in gains if gains[name].low[row] > _SAME]
    if sure:
        best = max(sure, key=lambda name: float(gains[name].value[row]))
        return best, float(gains[best].value[row])
    if best and gains[best].high[row] > _SAME:
        return f"close:{best}", float(gains[best].value[row])
    return BASELINE, 1.0


def _kind(answer: str) -> str:
    """What neighbouring batches share: which recipe is a little ahead does not matter where none surely is."""
    return "close" if answer.startswith("close:") else answer


def _words(stretch: Stretch) -> str:
    kind, _, name = stretch.answer.partition(":")
    where = f"batch {stretch.first:,}" if stretch.first == stretch.last else f"batch {stretch.first:,}–{stretch.last:,}"
    at = f"{stretch.gain:.2f}x at {stretch.first:,}"
    if kind == "close":
        return f"{where} too close to call ({name} {at})"
    if kind == "only":
        return f"{where} fits only with {name}"
    if kind == "nothing":
        return f"{where} does not fit"
    return f"{where} no recipe" if kind == BASELINE else f"{where} {kind} pays ({at})"
