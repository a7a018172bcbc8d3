"""The bits of every layer for a target: sensitivities times costs, put into an exact integer programme."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.units import show
from dovetail.design.allocation.prices import METRICS, Array, Prices, offered, prices
from dovetail.design.allocation.programme import solve
from dovetail.design.allocation.target import QUALITY, UNITS, Limit, checked
from dovetail.design.estimate import Estimate, estimate
from dovetail.design.resolve import Plan
from dovetail.hardware.machine import Machine
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.method import Rounds
from dovetail.recipe.quantising import AS_IT_IS, LayerBits
from dovetail.recipe.recipe import Recipe
from dovetail.recipe.sensitivity import JUDGED, SAMPLES, How, sensitivity
from dovetail.workload import Workload

WIDTHS = (2, 3, 4, 5, 6, 8)
_ROUNDS = 6  # of the programme with a limit tightened by how far the sum over operators was off
_MEASURED_FLOPS = 2e13  # up to which sensitivity is measured rather than taken to second order: minutes on a core


@dataclass(frozen=True, slots=True)
class Base:
    """The method that stores the layers, all of it but the bits."""

    method: Any

    @classmethod
    def of(cls, recipe: Recipe) -> Base:
        """Raises `DovetailError` unless the recipe is one method with bits for each layer, all alike."""
        known: list[Any] = [m for m in recipe.methods if isinstance(m, Rounds)]
        if len(recipe.methods) != 1 or not known:
            why = f"it is {recipe.describe()}"
            hint = "one method that quantises, such as w4a16-rtn, or none: gptq"
            raise DovetailError("bits cannot be chosen", where=f"recipe {recipe.name}", why=why, hint=hint)
        if known[0].layers:
            raise DovetailError(
                "has bits of its own for some layers", where=f"recipe {recipe.name}", hint="leave them out"
            )
        return cls(known[0])

    def at(self, bits: int) -> Recipe:
        """Every layer with these bits."""
        return Recipe("none") if bits == AS_IT_IS else Recipe(f"{bits} bits", (replace(self.method, bits=bits),))

    def mixed(self, bits: Mapping[str, int], name: str) -> Recipe:
        """Bits of each matrix, by its name; the commonest are those of the method, the others are named."""
        counts = {b: sum(own == b for own in bits.values()) for b in set(bits.values()) - {AS_IT_IS}}
        if not counts:
            return Recipe("none")
        usual = max(counts, key=lambda b: (counts[b], b))
        layers: LayerBits = tuple((n.removesuffix(".weight"), b) for n, b in bits.items() if b != usual)
        return Recipe(name, (replace(self.method, bits=usual, layers=layers),))


@dataclass(frozen=True, slots=True)
class Allocation:
    """Widths for the groups of a model, and what is predicted of them.

    Parameters
    ----------
    picks : tuple of int
        Of each group, the place of its width among those of the prices.
    nats : Array (groups, widths)
        Predicted loss of quality, in nats a token.
    recipe : Recipe
        What carries it out.
    estimate, before : Estimate
        With it and without.
    correction : float
        What was predicted first, times this, are `nats`.
    """

    prices: Prices
    picks: tuple[int, ...]
    nats: Array
    how: How
    recipe: Recipe
    limits: tuple[Limit, ...]
    before: Estimate
    estimate: Estimate
    correction: float = 1.0

    @property
    def bits(self) -> dict[str, int]:
        """Of each matrix, by its name in the checkpoint."""
        return _bits(self.prices, self.picks)

    @property
    def loss(self) -> float:
        """Predicted rise of the log of perplexity."""
        return _lost(self.nats, self.picks)

    @property
    def mean_bits(self) -> float:
        """Bits of an element of the matrices, scales aside."""
        sizes = np.array([group.elements for group in self.prices.groups], float)
        return float(sizes @ np.array(self.prices.widths)[list(self.picks)] / sizes.sum())


def _bits(found: Prices, picks: Sequence[int]) -> dict[str, int]:
    return {t: found.widths[pick] for group, pick in zip(found.groups, picks, strict=True) for t in group.tensors}


def allocate(
    model: Model,
    folder: Path,
    machine: Machine,
    limits: Sequence[Limit],
    *,
    recipe: Recipe | None = None,
    work: Workload | None = None,
    widths: Sequence[int] = WIDTHS,
    calibration: Calibration | None = None,
    how: How | None = None,
    report: Callable[[str], None] = lambda line: None,
    correction: float = 1.0,
) -> Allocation:
    """The widths with the least predicted loss of quality that meet the limits.

    With limits on quality alone the fastest, and of those equally fast the smallest, that meet them.

    Parameters
    ----------
    folder : Path
        The model's weights.
    recipe : Recipe
        One method whose bits are chosen; GPTQ in groups of 128 by default.
    how : str
        ``measured`` or ``second-order`` sensitivity; by default measured where that takes minutes.
    correction : float
        By how much a measured loss was above the predicted one.

    Raises
    ------
    DovetailError
        With exit code 3 where nothing meets the limits: which binds, and what can be reached.
    """
    limits, base = checked(limits), Base.of(recipe or Recipe.load([{"gptq": {}}]))
    plan, asked = Plan(), work or Workload()
    chosen = calibration or Calibration(samples=SAMPLES)
    found = prices(model, machine, plan, asked, base.at, offered(model, machine, base.at, widths))
    _check_reachable(found, limits, machine)
    bits = found.widths[:-1]
    groups = {group.name: group.tensors for group in found.groups}
    manner = how or _affordable(model, chosen, len(groups) * len(bits))
    known = sensitivity(folder, groups, bits, base.method, how=manner, calibration=chosen, report=report)
    nats = np.hstack([np.array(known.nats).reshape(len(groups), len(bits)) * correction, np.zeros((len(groups), 1))])
    before = estimate(model, machine, asked, None, plan)

    def made(picks: tuple[int, ...]) -> Allocation:
        how_to = base.mixed(_bits(found, picks), " and ".join(map(str, limits)))
        after = estimate(model, machine, asked, how_to, plan)
        return Allocation(found, picks, nats, manner, how_to, limits, before, after, correction)

    return _until_met(found, nats, limits, made)


def _affordable(model: Model, calibration: Calibration, runs: int) -> How:
    tokens = min(JUDGED, calibration.samples) * calibration.tokens
    flops = runs * float(model.graph().parameters()) * tokens  # half a forward pass each, 2 FLOPs an element
    return "measured" if flops <= _MEASURED_FLOPS else "second-order"


def _check_reachable(found: Prices, limits: Sequence[Limit], machine: Machine) -> None:
    """Each limit on the machine can be met by itself."""
    for limit in limits:
        if limit.metric == QUALITY:
            continue
        best = found.before[limit.metric] + float(found.costs[limit.metric].min(1).sum())
        if not limit.holds(best, found.before[limit.metric]):
            raise _unreachable(found, limit, best, machine)


def _unreachable(found: Prices, limit: Limit, best: float, machine: Machine) -> DovetailError:
    before, unit = found.before[limit.metric], UNITS[limit.metric]
    fixed = before + float(found.costs[limit.metric].min(1).sum())
    if len(found.widths) == 1:
        why = f"{machine.name} has no kernel for weights of fewer bits; {limit.metric} stays {show(before, unit)}"
    else:
        offers = ", ".join(map(str, found.widths[:-1]))
        why = (
            f"{limit.metric} is {show(before, unit)} as it is and {show(best, unit)}, {best / before:.3g}x, at best: "
            f"widths of {offers} bits have kernels on {machine.name}, the rest does not depend on bits"
        )
    near = math.ceil(fixed / before * 100 + 1e-9) / 100
    less = f"{limit.metric} <= {near:g}x, " if near < 1 else "a target on memory or weights, "
    hint = f"{less}a larger batch or context, or another machine"
    return DovetailError(f"'{limit}' cannot be reached", where="target", why=why, hint=hint, exit_code=INFEASIBLE)


def _until_met(
    found: Prices, nats: Array, limits: Sequence[Limit], made: Callable[[tuple[int, ...]], Allocation]
) -> Allocation:
    """The programme's answer, its limits tightened until the whole graph's estimate meets those that were asked for."""
    hard = [limit for limit in limits if limit.metric != QUALITY]
    tight = np.array([limit.absolute(found.before[limit.metric]) for limit in hard])
    for _ in range(_ROUNDS):
        picks = _solved(found, nats, limits, hard, tight)
        answer = made(picks)
        reached = {name: float(np.asarray(value)) for name, value in _flat(answer.estimate).items()}
        missed = [not limit.holds(reached[limit.metric], found.before[limit.metric]) for limit in hard]
        if not any(missed):
            return answer
        for k, limit in enumerate(hard):
            if missed[k]:
                over = reached[limit.metric] - found.predicted(limit.metric, picks)
                tight[k] = min(limit.absolute(found.before[limit.metric]) - over, tight[k] * (1 - 1e-9))
    what = f"'{' and '.join(map(str, hard))}' cannot be reached"
    why = "layers of different widths are slower together than each by itself"
    raise DovetailError(what, where="target", why=why, hint="a looser target", exit_code=INFEASIBLE)


def _flat(found: Estimate) -> dict[str, Any]:
    from dovetail.design.points import flat

    return {name: value for name, value in flat(found.metrics).items() if name in METRICS}


def _solved(
    found: Prices, nats: Array, limits: Sequence[Limit], hard: Sequence[Limit], tight: Array
) -> tuple[int, ...]:
    """Widths of the groups: those that lose least within the hard limits, or that are fastest within those on quality.

    Both together need no programme with one resource more: what loses least is within those on quality, or nothing is.

    Raises
    ------
    DovetailError
        The limits cannot be met together (exit code 3).
    """
    rows = range(len(found.groups))
    most = min((math.log(limit.bound) for limit in limits if limit.metric == QUALITY), default=np.inf)
    if not hard:
        speed, size = found.costs["tpot"], found.costs["weights"]
        values = [speed[i] / found.before["tpot"] + 1e-6 * size[i] / found.before["weights"] for i in rows]
        picks = solve(values, [nats[i][:, None] for i in rows], np.array([most]))
    else:
        room = np.array([bound - found.before[limit.metric] for limit, bound in zip(hard, tight, strict=True)])
        strict = np.array([limit.strict for limit in hard], bool)
        needs = [np.column_stack([found.costs[limit.metric][i] for limit in hard]) for i in rows]
        picks = solve([nats[i] for i in rows], needs, np.where(strict, room - 1e-12 * np.abs(tight), room))
    if picks is None or _lost(nats, picks) > most + 1e-12:
        raise _together(limits, None if picks is None else _lost(nats, picks))
    return picks


def _lost(nats: Array, picks: Sequence[int]) -> float:
    return float(nats[np.arange(len(picks)), list(picks)].sum())


def _together(limits: Sequence[Limit], least: float | None) -> DovetailError:
    """Why limits that can each be met cannot be met at once; `least` is the loss without those on quality."""
    text, why = " and ".join(map(str, limits)), "each can be met, not all together"
    if least is not None:
        why = f"within the others, perplexity of {math.exp(least):.4g}x is the least that is predicted"
    return DovetailError(
        f"'{text}' cannot be met", where="target", why=why, hint="a looser target", exit_code=INFEASIBLE
    )
