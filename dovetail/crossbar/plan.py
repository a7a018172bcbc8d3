"""Which bitline gets how many bits: the cheapest converters whose error stays within a budget."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.crossbar.adc import Converters, code_range
from dovetail.crossbar.calibrate import conversion_errors
from dovetail.crossbar.layer import Layer
from dovetail.crossbar.sums import histograms
from dovetail.hardware.adc import AdcModel

MOST = 9


@dataclass(frozen=True, slots=True, eq=False)
class Choices:
    """What each bits of each group of bitlines would lose and cost.

    Parameters
    ----------
    groups : array of int, shape (planes, slices, tiles, outputs)
        Which group a bitline is in; -1 for one that is never converted.
    error : array, shape (groups, MOST + 1)
        Squared error of the layer's outputs, relative to their power, with that many bits; 0 bits are not offered.
    energy : array, shape (groups, MOST + 1)
        J of a vector's conversions.
    """

    groups: NDArray[np.int64]
    error: NDArray[np.float64]
    energy: NDArray[np.float64]


def choices(layer: Layer, x: NDArray[np.int32], adc: AdcModel, column_groups: int = 2) -> Choices:
    """Measure saturating converters of all bits on inputs.

    Bitlines of a plane and slice are grouped by the bits that hold the largest sum that came: with two groups, the most
    demanding eighth of them and the rest.
    """
    shape = layer.converters.step.shape
    by_line, seen = _errors(layer, x)
    live = layer.statistics.highest > layer.statistics.lowest
    groups = np.full(shape, -1, np.int64)
    number = 0
    for plane, slice_ in np.ndindex(*shape[:2]):
        for members in _groups(seen[plane, slice_], live[plane, slice_], column_groups):
            groups[plane, slice_][members] = number
            number += 1
    chosen = groups >= 0
    power = max(float(np.square(layer.driven(x) @ layer.codes.weights().T).sum()), np.finfo(float).tiny)
    error = np.stack([np.bincount(groups[chosen], by_line[b][chosen], number) for b in range(MOST + 1)], axis=1) / power
    count = np.bincount(groups[chosen], minlength=number) * layer.setup.inputs.bits
    energy = count[:, None] * adc.energy_j(np.arange(MOST + 1))
    return Choices(groups, error, energy)


def _errors(layer: Layer, x: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Squared output error of every bitline by bits (bits, planes, …), and the largest sum that came."""
    shape, signed = layer.converters.step.shape, layer.signed
    out, seen = np.zeros((MOST + 1, *shape)), np.zeros(shape, np.int64)
    # Errors of a conversion weigh by the square of its cycle's place: the mean over cycles stands for each of them.
    place = float(np.mean(layer.setup.inputs.place_values.astype(float) ** 2))
    for each in histograms(layer, x):
        plane, slice_, tile = each.place
        weight = place * float(layer.worth[plane, slice_]) ** 2 * layer.scales[tile] ** 2
        for bits in range(1, MOST + 1):
            by_sign = [conversion_errors(each, bits, way, 1.0) for way in (False, True)]
            out[bits][each.place] = weight * np.where(signed[each.place], by_sign[1], by_sign[0])
        seen[each.place] = np.where(each.counts > 0, np.abs(each.sums), 0).max(axis=1)
    out[0] = np.inf
    return out, seen


def _groups(seen: NDArray[np.int64], live: NDArray[np.bool_], count: int) -> list[NDArray[np.bool_]]:
    """Masks of the bitlines that are converted, the least demanding first; each is an eighth of the one before."""
    if not live.any():
        return []
    edges = [np.quantile(seen[live], 1 - 0.125**k) for k in range(1, count)]
    kind = np.searchsorted(np.unique(edges), seen, side="left")
    return [mask for k in range(count) if (mask := live & (kind == k)).any()]


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Bits of every group of every layer, what they lose and cost."""

    bits: tuple[NDArray[np.int64], ...]
    error: float
    energy_j: float

    def to_json(self) -> dict[str, Any]:
        return {"bits": [each.tolist() for each in self.bits], "error": self.error, "adc_energy_j": self.energy_j}


def plan(layers: Sequence[Choices], budget: float) -> Plan:
    """The cheapest bits whose summed relative errors stay within `budget`: a multiple-choice knapsack.

    Each group's choices are reduced to their lower convex hull of (energy, error), and steps up it are taken by error
    saved per joule: the optimum of the relaxed problem, and that of the whole one up to the last step. Steps down that
    still fit are taken back at the end.

    Raises
    ------
    DovetailError
        A budget below 0, or one that no converter here meets.
    """
    if budget < 0:
        raise DovetailError(f"an error budget of {budget:g}", where="budget", hint="0 or more")
    rows = [(k, g) for k, each in enumerate(layers) for g in range(len(each.error))]
    hulls = [_hull(layers[k].energy[g], layers[k].error[g]) for k, g in rows]
    at = [0] * len(rows)
    error = sum(layers[k].error[g, hull[0]] for (k, g), hull in zip(rows, hulls))
    least = sum(layers[k].error[g, hull[-1]] for (k, g), hull in zip(rows, hulls))
    if least > budget * (1 + 1e-12):
        why = f"{MOST} bits everywhere lose {least:.3g}"
        raise DovetailError("no converters lose so little", where="budget", why=why, hint=f"{least:.2g} or more",
                            exit_code=INFEASIBLE)  # fmt: skip
    queue: list[tuple[float, int]] = []

    def offer(row: int) -> None:
        (k, g), hull, now = rows[row], hulls[row], at[row]
        if now + 1 < len(hull):
            saved = layers[k].error[g, hull[now]] - layers[k].error[g, hull[now + 1]]
            paid = layers[k].energy[g, hull[now + 1]] - layers[k].energy[g, hull[now]]
            heapq.heappush(queue, (-saved / max(paid, 1e-300), row))

    for row in range(len(rows)):
        offer(row)
    while error > budget and queue:
        _, row = heapq.heappop(queue)
        (k, g), hull = rows[row], hulls[row]
        error -= layers[k].error[g, hull[at[row]]] - layers[k].error[g, hull[at[row] + 1]]
        at[row] += 1
        offer(row)
    bits = [np.zeros(len(each.error), np.int64) for each in layers]
    for (k, g), hull, now in zip(rows, hulls, at):
        bits[k][g] = hull[now]
    _take_back(layers, bits, budget)
    return Plan(tuple(bits), *_summed(layers, bits))


def _hull(energy: NDArray[np.float64], error: NDArray[np.float64]) -> list[int]:
    """Bits on the lower convex hull, the fewest first."""
    kept: list[int] = []
    for bits in np.argsort(energy, kind="stable"):
        if not np.isfinite(error[bits]) or (kept and error[bits] >= error[kept[-1]]):
            continue
        while len(kept) > 1 and _slope(energy, error, kept[-2], kept[-1]) >= _slope(energy, error, kept[-1], int(bits)):
            kept.pop()
        kept.append(int(bits))
    return kept


def _slope(energy: NDArray[np.float64], error: NDArray[np.float64], a: int, b: int) -> float:
    return float((error[b] - error[a]) / max(energy[b] - energy[a], 1e-300))


def _take_back(layers: Sequence[Choices], bits: list[NDArray[np.int64]], budget: float) -> None:
    """Cheaper choices that still fit, the largest saving first: what the last step left of the budget."""
    room = budget - _summed(layers, bits)[0]
    saves = [
        (each.energy[g, bits[k][g]] - each.energy[g, b], each.error[g, b] - each.error[g, bits[k][g]], k, g, b)
        for k, each in enumerate(layers) for g in range(len(each.error)) for b in range(1, MOST + 1)
        if each.energy[g, b] < each.energy[g, bits[k][g]]
    ]  # fmt: skip
    moved: set[tuple[int, int]] = set()
    for _, lost, k, g, b in sorted(saves, key=lambda save: -save[0]):
        if lost <= room and (k, g) not in moved:
            moved.add((k, g))
            bits[k][g] = b
            room -= lost


def _summed(layers: Sequence[Choices], bits: Sequence[NDArray[np.int64]]) -> tuple[float, float]:
    rows = [np.arange(len(chosen)) for chosen in bits]
    error = sum(float(each.error[row, chosen].sum()) for each, row, chosen in zip(layers, rows, bits))
    energy = sum(float(each.energy[row, chosen].sum()) for each, row, chosen in zip(layers, rows, bits))
    return error, energy


def planned(layer: Layer, found: Choices, bits: NDArray[np.int64]) -> Layer:
    """The layer with saturating converters of the planned bits."""
    chosen = np.where(found.groups >= 0, bits[found.groups], 0)
    low, high = code_range(np.maximum(chosen, 1), layer.signed)
    return layer.with_converters(Converters(np.ones(chosen.shape), low, high, chosen))


def within(
    layers: Sequence[Choices], good: Callable[[Plan], bool], budgets: Sequence[float], rounds: int = 5
) -> Plan:  # fmt: skip
    """The cheapest plan that is `good` (an accuracy or a perplexity, measured), by bisection of the error budget.

    Parameters
    ----------
    good : callable
        Measures a plan: whether the model with it is within what the user allows.
    budgets : (low, high)
        Relative errors: at the first it should be good.

    Raises
    ------
    DovetailError
        It is not good at the lowest budget.
    """
    low, high = budgets
    best = plan(layers, low)
    if not good(best):
        why = f"converters that lose {low:g} of the outputs' power do already"
        raise DovetailError("no plan is good enough", where="budget", why=why, hint="a wider budget of quality",
                            exit_code=INFEASIBLE)  # fmt: skip
    for _ in range(rounds):
        middle = float(np.sqrt(low * high))
        tried = plan(layers, middle)
        if good(tried):
            low, best = middle, tried
        else:
            high = middle
    return best
