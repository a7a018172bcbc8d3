"""When does guessing pay? The gain of a recipe that speculates, over batch and context, and its best number of guesses.

    gain = tokens of a step x time of a plain step / time of a step that guesses and verifies

The baseline is the same recipe without its method of speculation, on the same machine and plan.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from dovetail.core.quantity import Quantity, weakest
from dovetail.cost import evaluate
from dovetail.design.crossover import Gain, gains
from dovetail.design.points import metrics, steps
from dovetail.design.ratio import Priced, ratio
from dovetail.design.resolve import Plan
from dovetail.design.trust import trust
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.speculation.guessing import verifying
from dovetail.system.tensor_parallel import tensor_parallel
from dovetail.workload import Workload

# What software adds to a step that guesses, beyond its passes: on an A100, public decoders in Python needed up to so
# many times the predicted step (Medusa, Vicuna-7B/13B/33B: 1.17/1.26/1.24; Spec-Bench leaderboard, 2024).
SOFTWARE = 1.26
SOURCE = "tokens a step x plain step / speculative step; low: software as slow as public decoders (Spec-Bench, A100)"
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
CONTEXTS = (512, 2048, 8192, 32768)
_FINE = tuple(dict.fromkeys(round(2 ** (x / 8)) for x in range(81)))  # 1 to 1,024, each at most 9 % above


@dataclass(frozen=True, slots=True)
class Speculation:
    """What speculation brings to one design.

    Parameters
    ----------
    guesses, tokens_per_step : float
        Verified for each sequence in a step, and expected of it.
    gain : Quantity or None
        Times as many tokens a second while decoding; None where the design does not fit.
    pays : tuple of (int, int)
        Batches between which it pays at this context, first and last (within 9 %). Mixtures may have two such ranges: a
        pass over a few more tokens reads more experts, until all are read anyway.
    fits : int
        The largest batch that fits, up to 1,024; 0 where none does.
    best : int
        Guesses with the largest gain at this batch and context; 0 where none gains.
    best_gain : float
        Of them; NaN where the design does not fit.
    map : tuple of Gain
        At each context over batches: of the recipe as it is, and of the best number of guesses there.
    best_map : tuple of (int, array)
        Contexts, and the best numbers of guesses over batches.
    relaxed : bool
        Whether guesses are kept that the model would not have chosen; tokens of a step are those of exact acceptance.
    """

    name: str
    guesses: float
    tokens_per_step: float
    gain: Quantity | None
    pays: tuple[tuple[int, int], ...]
    fits: int
    best: int
    best_gain: float
    map: tuple[Gain, ...] = ()
    best_map: tuple[tuple[int, np.ndarray], ...] = ()
    relaxed: bool = False

    def words(self) -> str:
        """In a line."""
        best = f"best {self.best} guesses here ({self.best_gain:.2f}x)" if self.best else "best no guesses here"
        made = f"{self.tokens_per_step:.2f} tokens a step with {self.guesses:g} guesses"
        made += " (relaxed: another text; chances are those of exact acceptance)" if self.relaxed else ""
        if self.gain is None:
            return f"{made}; {self._pays()}"
        found = self.gain
        return f"{made}, {found.value:.2f}x [{found.low:.2f}x – {found.high:.2f}x]; {self._pays()}; {best}"

    def _pays(self) -> str:
        if not self.fits:
            return "fits at no batch"
        if self.pays == ((1, self.fits),):
            return "pays at every batch that fits"
        ranges = (f"up to batch {b:,}" if a == 1 else f"from {a:,} to {b:,}" for a, b in self.pays)
        return "pays " + (" and ".join(ranges) or "at no batch")

    def to_json(self) -> dict[str, Any]:
        """Names of quantities as in the answer of ``estimate``; the map has a row for each context and batch."""
        return {
            "method": self.name, "acceptance": "relaxed" if self.relaxed else "lossless",
            "guesses": self.guesses, "tokens_per_step": self.tokens_per_step,
            "gain": self.gain.to_json() if self.gain else None,
            "pays": [list(range_) for range_ in self.pays], "fits": self.fits,
            "best_guesses": self.best, "best_gain": _finite(self.best_gain), "map": list(self._rows()),
        }  # fmt: skip

    def _rows(self) -> Any:
        known = dict(self.best_map)
        for each in self.map:
            for batch, value, best in zip(each.batch, each.gain, known[each.context], strict=True):
                row = {"recipe": each.recipe, "context": each.context, "batch": int(batch)}
                yield row | {"gain": _finite(value), "best_guesses": int(best)}


def speculation(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload, *, full: bool = True
) -> Speculation | None:
    """What the method of speculation in `recipe` brings; None where there is none. For scalar workloads.

    Parameters
    ----------
    full : bool
        Also over other batches and contexts: `Speculation.map`.
    """
    guess = recipe.guess()
    if guess is None:
        return None
    here, batch = int(work.mean_context), int(work.batch)
    line = gains(model, machine, [recipe], _FINE, [here], baseline=recipe.unguessed(), plan=plan)[0]
    best, most = best_guesses(model, machine, recipe, plan, [batch], [here])
    base, made = (_priced(model, machine, each, plan, work) for each in (recipe.unguessed(), recipe))
    found, graph = ratio("tpot", base, made), made.steps.decode_graph
    fits = line.batch[np.isfinite(line.gain)]
    value, low, high = (float(x) for x in (found.value, found.low, found.high))
    kind = weakest(found.kind, "literature")
    shown = Quantity(value, low / SOFTWARE, high, "x", kind, SOURCE) if np.isfinite(value) else None
    part = Speculation(
        recipe.name, float(graph.tokens - 1), float(graph.tokens_per_step), shown,
        _ranges(line), int(fits[-1]) if fits.size else 0, int(best[0, 0]), float(most[0, 0]),
        relaxed=recipe.relaxed,
    )  # fmt: skip
    return _mapped(part, model, machine, recipe, plan) if full else part


def _ranges(line: Gain) -> tuple[tuple[int, int], ...]:
    """First and last batch of each run of batches that gain."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], line.gain > 1.0, [False])).astype(int)))
    return tuple((int(line.batch[a]), int(line.batch[b - 1])) for a, b in edges.reshape(-1, 2))


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _priced(model: Model, machine: Machine, recipe: Recipe, plan: Plan, work: Workload) -> Priced:
    found = steps(model, machine, recipe, plan, work, detail=True)
    known = trust(found.decode_graph, machine, plan.group(machine, model))
    return Priced(
        recipe.name, metrics(model, machine, recipe, plan, work, found), found, known, work.decode_steps
    )  # fmt: skip


def _mapped(part: Speculation, model: Model, machine: Machine, recipe: Recipe, plan: Plan) -> Speculation:
    contexts = [c for c in CONTEXTS if c + 2 <= model.max_context] or [max(1, model.max_context - 2)]
    own = gains(model, machine, [recipe], BATCHES, contexts, baseline=recipe.unguessed(), plan=plan)
    best, most = best_guesses(model, machine, recipe, plan, BATCHES, contexts)
    sized = [Gain("best number of guesses", c, np.asarray(BATCHES), row) for c, row in zip(contexts, most, strict=True)]
    return replace(part, map=(*own, *sized), best_map=tuple(zip(contexts, best, strict=True)))


def best_guesses(
    model: Model, machine: Machine, recipe: Recipe, plan: Plan, batches: Sequence[int], contexts: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The number of guesses with the largest gain, and that gain: arrays (contexts, batches).

    0 guesses with a gain of 1 where none pays; a gain of NaN where the design does not fit.
    """
    guess = recipe.guess()
    sizes = () if guess is None else guess.sizes
    tried = [recipe.sized(size) for size in sizes]
    found = gains(model, machine, tried, batches, contexts, baseline=recipe.unguessed(), plan=plan)
    table = np.stack([each.gain for each in found]).reshape(len(contexts), len(sizes), len(batches))
    lost = np.isnan(table).all(1)
    known = np.concatenate((np.ones((len(contexts), 1, len(batches))), np.nan_to_num(table)), 1)
    at = known.argmax(1)
    return np.asarray((0, *sizes))[at], np.where(lost, np.nan, np.take_along_axis(known, at[:, None], 1)[:, 0])


class PassSeconds(Protocol):
    """Seconds of a pass or step: `TimedStep`, `TimedPass`, `PassTime` as measured here, or `MachinePass`."""

    def seconds(self, batch: int, guesses: int) -> float:
        """Of a pass over `batch` sequences with as many guesses each, and the newest tokens."""
        ...


@dataclass(frozen=True, slots=True)
class MachinePass:
    """Seconds of a pass as the cost model has it: of a machine in the zoo, or one that was calibrated.

    Parameters
    ----------
    recipe : Recipe
        How weights are stored; without speculation.
    """

    model: Model
    machine: Machine
    recipe: Recipe
    context: int

    def seconds(self, batch: int, guesses: int) -> float:
        """What guesses is not counted."""
        plain = self.recipe.rewrite(self.model.graph(batch, 1, self.context))
        wide = verifying(plain, guesses, 1.0 + guesses) if guesses else plain
        chip = tensor_parallel(wide, Plan().ways(self.machine, self.model))
        return float(evaluate(chip, self.machine, detail=False).time_s)


def predicted_gains(
    passes: PassSeconds, tokens_per_step: Sequence[float], batches: Sequence[int], guessing_s: float = 0.0
) -> np.ndarray:
    """The gain of verifying 0, 1, … guesses, (batches, guesses), from times of passes.

    Parameters
    ----------
    tokens_per_step : sequence of float
        Expected tokens of a step with 0, 1, … guesses.
    guessing_s : float
        What it takes to guess, a step.
    """
    found = np.ones((len(batches), len(tokens_per_step)))
    for row, batch in enumerate(batches):
        plain = passes.seconds(batch, 0)
        for guesses, tokens in enumerate(tokens_per_step):
            if guesses:
                found[row, guesses] = tokens * plain / (passes.seconds(batch, guesses) + guessing_s)
    return found


def batch_gain(
    passes: PassSeconds, paces: Sequence[float], batch: int, guesses: int,
    asking_s: Callable[[int], float] = lambda _: 0.0, guessed: float = 1.0,
) -> float:  # fmt: skip
    """The gain of decoding texts of one length together until the slowest is done, each with guesses of its own luck.

    A text of pace p needs 1 / p steps a token, and leaves the batch then: of `batch` texts whose paces are drawn from
    those that were counted, K are left after u steps a token, K binomial with the share of paces below 1 / u. So a
    token of all takes ``integral of E[seconds(K)] du`` against ``seconds(batch)`` of plain steps, in which all go on.

    Parameters
    ----------
    paces : sequence of float
        Tokens a step, of texts decoded one at a time.
    asking_s : callable
        Seconds that it takes to guess for so many texts, a step.
    guessed : float
        Share of the steps in which a text has guesses; a pass is a plain one where none of them has.
    """
    steps, counts = np.unique(1.0 / np.asarray(paces, float), return_counts=True)
    going = 1.0 - np.concatenate(([0], np.cumsum(counts)[:-1])) / len(paces)  # share that needs more than the last step
    lengths = np.diff(np.concatenate(([0.0], steps)))
    left = np.arange(1, batch + 1)
    wide, plain = (
        np.array([passes.seconds(int(k), n) for k in left]) for n in (guesses, 0 if guessed < 1 else guesses)
    )
    each = wide + (plain - wide) * (1.0 - guessed) ** left + [asking_s(int(k)) for k in left]
    ways = np.array([math.comb(batch, int(k)) for k in left], float)
    chances = ways * going[:, None] ** left * (1.0 - going[:, None]) ** (batch - left)
    return float(passes.seconds(batch, 0) / (lengths @ (chances @ each)))
