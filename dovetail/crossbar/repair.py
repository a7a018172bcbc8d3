"""Writing around defects and spread: each slice is written to what the slices above it really left.

Cells are programmed and read back from the highest slice down. A cell that is stuck is known then, and so is what a
programmed one conducts; the slices below, and the other cell of a pair, make up for it. A code has many ways to stand
in two cells for each digit, and the nearest to what is left of it is taken, with as few levels as possible: in that
slice where codes are `differential`, in all slices together where they are `balanced`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.cells import Cells, Digits, rest_digits
from dovetail.crossbar.columns import digit_statistics
from dovetail.crossbar.conductance import Chip, chips, programmed
from dovetail.crossbar.layer import Layer

Floats = NDArray[np.float64]
_SPARE = 1e-3  # what a level costs beside an error of one code: of equally near ways the one with fewer levels


def repaired(layer: Layer) -> Layer:
    """The same codes in the same arrays, written slice by slice with the defects and the spread of this chip known.

    Drift and wires come later or are no cell's: they are as before. So are converters: see `arrange.fitted`.
    """
    setup, codes = layer.setup, layer.codes
    if layer.arrangement is not None and layer.arrangement.paired.any():
        return layer  # currents subtract where cells are ideal: there is nothing to write around
    made = chips(layer.digits.shape, setup.cells, setup.device, setup.seed)
    kappa = setup.device.kappa(setup.cells.levels)
    plus, minus = np.zeros(layer.digits.shape[1:], np.int8), np.zeros(layer.digits.shape[1:], np.int8)
    left = codes.values.astype(np.float64) + setup.cells.offset(codes.grid.bits)
    for slice_ in reversed(range(layer.digits.shape[1])):
        worth = float(1 << setup.cells.bits * slice_)
        pair, (low, high) = _cells_of(setup.cells, made, slice_), _reach(setup.cells, made, slice_)
        wanted = left / worth
        meant = _meant(layer, slice_, left)
        held = _chosen(wanted, low / worth, high / worth, setup.cells, pair, meant)
        for (chip, place), digits, sign, out in zip(pair, held, (1, -1), (plus, minus)):
            left -= sign * worth * (chip.conducts(digits, place, aged=False) - kappa)
            out[slice_] = digits
    digits = _joined(setup.cells, plus, minus)
    conductance, offset = programmed(digits, layer.starts, setup.arrays, made)
    found = digit_statistics(digits, layer.starts)
    return replace(layer, digits=digits, statistics=found, conductance=conductance, offset=offset)


def _cells_of(cells: Cells, made: tuple[Chip, ...], slice_: int) -> list[tuple[Chip, tuple[int, int]]]:
    """The chip and the place of the cells that add, and of those that subtract where there are any."""
    if cells.signed:
        return [(made[0], (0, slice_)), (made[1], (0, slice_))]
    return [(made[0], (plane, slice_)) for plane in range(len(cells.polarities))]


def _reach(cells: Cells, made: tuple[Chip, ...], slice_: int) -> tuple[Floats, Floats]:
    """What the slices below can still subtract and add, their stuck cells known."""
    shape = made[0].stuck.shape[2:]
    low, high = np.zeros(shape), np.zeros(shape)
    for below in range(slice_):
        worth = float(1 << cells.bits * below)
        pair = [chip.stuck[place] for chip, place in _cells_of(cells, made, below)]
        for sign, stuck in zip((1, -1), pair):
            ends = (
                sign * worth * _fixed(0, stuck, cells.levels),
                sign * worth * _fixed(cells.levels, stuck, cells.levels),
            )
            low, high = low + np.minimum(*ends), high + np.maximum(*ends)
    return low, high


def _chosen(
    wanted: Floats, low: Floats, high: Floats, cells: Cells, pair: list[tuple[Chip, tuple[int, int]]],
    meant: Floats | None,
) -> list[Digits]:  # fmt: skip
    """Digits whose difference leaves of `wanted` what the slices below reach, or the least beyond.

    Of equally near ways the one with the fewest levels; where `meant` is a number, the one nearest to that digit.
    """
    best = np.full(wanted.shape, np.inf)
    held = [np.zeros(wanted.shape, np.int8) for _ in pair]
    stuck = [chip.stuck[place] for chip, place in pair]
    for above in range(cells.levels + 1):
        for below in range(cells.levels + 1) if len(pair) > 1 else (0,):
            if cells.signed and above and below:
                continue
            seen = [_fixed(digit, s, cells.levels) for digit, s in zip((above, below), stuck)]
            off = wanted - seen[0] + (seen[1] if len(seen) > 1 else 0)
            beyond = np.maximum(np.maximum(off - high, low - off), 0)
            cost = beyond + _SPARE * (above + below) + _SPARE**2 * np.abs(off)
            if meant is not None:
                cost = cost + np.where(np.isnan(meant), 0.0, 2 * _SPARE * np.abs(above - below - meant))
            better = cost < best
            best = np.where(better, cost, best)
            for out, digit in zip(held, (above, below)):
                out[better] = digit
    return held


def _meant(layer: Layer, slice_: int, left: Floats) -> Floats | None:
    """The digit that balanced codes have in this slice for what is left of them; NaN elsewhere, None without any."""
    cells, arrangement = layer.setup.cells, layer.arrangement
    if arrangement is None and cells.encoding != "balanced":
        return None
    top = slice_ == layer.digits.shape[1] - 1
    table = rest_digits(layer.codes.grid.bits if top else cells.bits * (slice_ + 1), cells.bits)[:, slice_]
    sign, middle = np.where(layer.codes.values < 0, -1, 1), len(table) // 2
    nearest = np.clip(sign * np.rint(left).astype(np.int64), -middle, middle)
    digit: Floats = (sign * table[middle + nearest]).astype(np.float64)
    if arrangement is None:
        return digit
    heights = [rows.stop - rows.start for rows in layer.tiles]
    return np.where(np.repeat(arrangement.balanced, heights, axis=0).T, digit, np.nan)


def _fixed(digit: int, stuck: NDArray[np.int8], levels: int) -> NDArray[np.int64]:
    return np.where(stuck > 0, levels, np.where(stuck < 0, 0, digit))


def _joined(cells: Cells, plus: Digits, minus: Digits) -> Digits:
    if cells.signed:
        return (plus - minus)[None]
    return np.stack([plus, minus]) if len(cells.polarities) > 1 else plus[None]
