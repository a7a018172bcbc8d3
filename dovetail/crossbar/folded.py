"""Conversions that cannot lose anything, as one matrix product that is exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.layer import Layer

_EXACT = 1 << 24  # integers up to here are float32 numbers: no order of adding them rounds


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Some inputs of a layer: a matrix of whole numbers (inputs, outputs) and what they count, by output."""

    inputs: slice
    matrix: NDArray[np.float32]
    scale: NDArray[np.float64]


def lossless(layer: Layer) -> NDArray[np.bool_]:
    """Bitlines (planes, slices, tiles, outputs) whose largest sums their converters hold."""
    return layer.converters.lossless(layer.statistics.highest, layer.statistics.lowest)


def fold(layer: Layer, where: NDArray[np.bool_]) -> tuple[Fold, ...]:
    """Products that add what the bitlines in `where` do, and the encoding's offset.

    Inputs are cut where the sum of magnitudes of an output, times the largest input, would leave the integers that
    float32 holds, and where the scale changes.
    """
    whole = _joined(layer, where) - layer.setup.cells.offset(layer.codes.grid.bits)
    folds: list[Fold] = []
    group, inputs = layer.codes.group, layer.codes.shape[1]
    for first in range(0, inputs, group):
        scale = np.ascontiguousarray(layer.codes.steps[:, first // group])
        part = whole[:, first : min(first + group, inputs)]
        for start, end in _cuts(part, layer.setup.inputs.largest):
            if part[:, start:end].any():
                matrix = np.ascontiguousarray(part[:, start:end].T, dtype=np.float32)
                folds.append(Fold(slice(first + start, first + end), matrix, scale))
    return tuple(folds)


def multiply(folds: tuple[Fold, ...], x: NDArray[np.int32], outputs: int) -> NDArray[np.float64]:
    """What the folds add up to, shape (vectors, outputs)."""
    out = np.zeros((len(x), outputs))
    real = x.astype(np.float32)
    for each in folds:
        product: NDArray[Any] = real[:, each.inputs] @ each.matrix
        out += product * each.scale
    return out


def _joined(layer: Layer, where: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Digits of the bitlines in `where`, put together again to codes (outputs, inputs)."""
    heights = [rows.stop - rows.start for rows in layer.tiles]
    codes = np.zeros(layer.codes.shape, dtype=np.int32)
    for (plane, slice_), worth in np.ndenumerate(layer.worth):
        kept = np.repeat(where[plane, slice_], heights, axis=0).T
        codes += np.int32(worth) * np.where(kept, layer.digits[plane, slice_], np.int8(0))
    return codes


def _cuts(part: NDArray[np.int32], largest: int) -> list[tuple[int, int]]:
    """The longest runs of inputs whose sums stay exact."""
    room, ends, start = _EXACT // largest, [], 0
    running = np.abs(part).cumsum(axis=1, dtype=np.int64)
    while start < part.shape[1]:
        before = running[:, start - 1] if start else np.zeros(len(part), np.int64)
        over = (running[:, start:] - before[:, None] > room).any(axis=0)
        end = start + max(1, int(over.argmax()) if over.any() else len(over))
        ends.append((start, end))
        start = end
    return ends
