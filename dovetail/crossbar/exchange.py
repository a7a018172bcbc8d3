"""Inputs that trade places between tiles, so that the converters of their bitlines take less energy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.cells import Digits
from dovetail.crossbar.columns import needed_bits, signed_bits
from dovetail.crossbar.layer import Layer
from dovetail.hardware.adc import AdcModel

Sums = NDArray[np.int64]
_PARTNERS = 16  # inputs of other tiles that each input is tried against
_PATIENCE = 60  # inputs in a row that found no partner


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """J of a conversion by its bits, 0 to 20."""

    energy: NDArray[np.float64]

    @classmethod
    def of(cls, adc: AdcModel) -> Prices:
        return cls(np.asarray(adc.energy_j(np.arange(21))))


def exchanged(
    digits: Digits, paired: NDArray[np.bool_], layer: Layer, prices: Prices, tries: int
) -> NDArray[np.intp]:  # fmt: skip
    """The input that stands at each place, after exchanges that each save energy; none crosses a group of one scale.

    Parameters
    ----------
    digits : array of int8, shape (2, slices, outputs, inputs)
        As they stand now; both bitlines of a digit, 0 or more.
    paired : array of bool, shape (slices, tiles, outputs)
        Where the currents of both subtract.
    tries : int
        Inputs that look for a partner.
    """
    rng = np.random.default_rng([layer.setup.seed, 4])
    order = np.arange(digits.shape[3])
    tile = np.repeat(np.arange(len(layer.starts)), [rows.stop - rows.start for rows in layer.tiles])
    group = layer.starts[tile] // layer.codes.group
    columns = np.ascontiguousarray(np.moveaxis(digits, 3, 0))  # inputs, planes, slices, outputs
    sums = np.add.reduceat(columns, layer.starts, axis=0, dtype=np.int64)
    by_tile = np.moveaxis(paired, 1, 0)
    failed = 0
    for _ in range(tries):
        here = int(rng.integers(len(order)))
        others = np.flatnonzero((group == group[here]) & (tile != tile[here]))
        if failed >= _PATIENCE:
            break
        failed += 1
        if not others.size:
            continue
        there = rng.choice(others, min(_PARTNERS, others.size), replace=False)
        a, b = tile[here], tile[there]
        moved = columns[order[there]] - columns[order[here]]
        before = _energy(sums[a], by_tile[a], prices) + _energy(sums[b], by_tile[b], prices)
        after = _energy(sums[a] + moved, by_tile[a], prices) + _energy(sums[b] - moved, by_tile[b], prices)
        gain = (before - after).sum(axis=(1, 2))
        best = int(gain.argmax())
        if gain[best] > 1e-9 * before[best].sum():
            failed, place = 0, there[best]
            sums[a], sums[b[best]] = sums[a] + moved[best], sums[b[best]] - moved[best]
            order[[here, place]] = order[[place, here]]
    return order


def _energy(sums: Sums, paired: NDArray[np.bool_], prices: Prices) -> NDArray[np.float64]:
    """J of both bitlines (..., slices, outputs) of sums (..., 2, slices, outputs)."""
    plus, minus = sums[..., 0, :, :], sums[..., 1, :, :]
    alone = prices.energy[needed_bits(plus)] + prices.energy[needed_bits(minus)]
    found: NDArray[np.float64] = np.where(paired, prices.energy[signed_bits(plus, -minus)], alone)
    return found
