"""AWQ and SmoothQuant on a model with the outliers of large ones: share of round-to-nearest's loss that they recover.

    python bench/outliers.py [BYTES]

Asked: at least 70 %. The embedded model is small and has few outliers, so it is copied with four channels of each norm,
and of each value and up projection, 16 to 64 times larger (`recipe.outliers`): the copy computes the same, bit for bit.
Loss is nats per token on held-out files of the Python standard library (BYTES of them, 200,000 by default) above those
of the model; intervals are 95 %, by bootstrap over windows of 512 tokens, the same for all recipes. Calibration is the
default: 128 sequences of 512 tokens of other files. On the model without outliers, GPTQ is judged the same way.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dovetail.model
from dovetail.recipe.methods.awq import AWQ
from dovetail.recipe.methods.gptq import GPTQ
from dovetail.recipe.methods.rtn import RTN
from dovetail.recipe.methods.smoothquant import SmoothQuant
from dovetail.recipe.outliers import with_outliers
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.corpus import held_out_text
from dovetail.runtime.load import load
from dovetail.runtime.perplexity import Quality, perplexity

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"
ASKED, BYTES, RESAMPLES = 0.7, 200_000, 2000
SCHEMES = {"int4 g128": (4, 128), "int3 g32": (3, 32)}
W8A8 = RTN(8, 0, act_bits=8)


@dataclass(frozen=True, slots=True)
class Case:
    """A recipe against the one that it should be better than."""

    name: str
    plain: tuple[Any, ...]
    better: tuple[Any, ...]


def with_and_without() -> tuple[list[Case], list[Case]]:
    """Cases on the copy with outliers, and on the model as it is."""
    outliers, own = [Case("smoothquant, int8 x int8", (W8A8,), (SmoothQuant(), W8A8))], list[Case]()
    for name, scheme in SCHEMES.items():
        plain = (RTN(*scheme),)
        for rounding in ("nearest", "gptq"):
            outliers.append(Case(f"awq, {rounding}, {name}", plain, (AWQ(*scheme, rounding=rounding),)))
        own.append(Case(f"gptq, {name}", plain, (GPTQ(*scheme),)))
        own.append(Case(f"awq, gptq, {name}", plain, (AWQ(*scheme, rounding="gptq"),)))
    return outliers, own


def recovered(base: Quality, plain: Quality, better: Quality) -> tuple[float, float, float]:
    """Share of the loss of `plain` that `better` does not have, and its interval; windows are drawn together."""
    nats, tokens = np.array([[n for n, _ in q.documents] for q in (base, plain, better)]), base.documents
    weights = np.array([t for _, t in tokens], float)
    picks = np.random.default_rng(0).integers(len(weights), size=(RESAMPLES, len(weights)))
    drawn = nats[:, picks].sum(-1) / weights[picks].sum(-1)
    shares = 1 - (drawn[2] - drawn[0]) / (drawn[1] - drawn[0])
    whole = nats.sum(1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return float(1 - (whole[2] - whole[0]) / (whole[1] - whole[0])), float(low), float(high)


class Bench:
    """Measures recipes on one model, each once."""

    def __init__(self, source: Path, work: Path, text: str) -> None:
        self.source, self.work, self.text = source, work, text
        self.known: dict[tuple[Any, ...], Quality] = {}

    def quality(self, steps: Sequence[Any]) -> Quality:
        """Of the model after a recipe."""
        key = tuple(steps)
        if key not in self.known:
            out = Recipe.load(list(steps)).apply(self.source, self.work / "out").path if key else self.source
            self.known[key] = perplexity(load(out), self.text)
        return self.known[key]

    def line(self, case: Case) -> str:
        """One line of the table."""
        base, plain, better = (self.quality(steps) for steps in ((), case.plain, case.better))
        share, low, high = recovered(base, plain, better)
        numbers = "".join(f"{q.perplexity:9.3f}" for q in (base, plain, better))
        return f"{case.name:28}{numbers}{share:10.1%}  [{low:.1%} – {high:.1%}]"


def main() -> None:
    """Print the tables."""
    text = held_out_text(int(sys.argv[1]) if len(sys.argv) > 1 else BYTES)
    outliers, own = with_and_without()
    head = f"{'':28}{'model':>9}{'rtn':>9}{'method':>9}{'recovered':>10}  interval"
    with tempfile.TemporaryDirectory() as folder:
        copy = with_outliers(EMBEDDED, Path(folder) / "outliers")
        for title, source, cases in (
            (f"with outliers: asked {ASKED:.0%}", copy, outliers),
            ("as it is", EMBEDDED, own),
        ):
            print(f"embedded model, {title}; perplexity on {len(text.encode()):,} bytes\n{head}", flush=True)
            bench = Bench(source, Path(folder), text)
            for case in cases:
                print(bench.line(case), flush=True)


if __name__ == "__main__":
    main()
