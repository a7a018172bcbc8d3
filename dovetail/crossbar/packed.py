"""Bitlines whose converters may cut: their cells as bits, eight bitlines side by side, for ANDs and counts."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.kernels.library import Sums, find
from dovetail.crossbar.layer import Layer

LANES = 8
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """Bitlines in groups of `LANES`, tile after tile; those that fill the last group of a tile are empty.

    Arrays have shape (groups, ...); see ``kernels/sums.cpp``.
    """

    tile: NDArray[np.int32]
    cells: NDArray[np.uint64]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    inverse: NDArray[np.float64]
    worth: NDArray[np.float64]
    output: NDArray[np.int32]
    weights: NDArray[np.int64]
    words: int


def pack(layer: Layer, where: NDArray[np.bool_]) -> Packed:
    """The bitlines (planes, slices, tiles, outputs) in `where`."""
    words = -(-max(rows.stop - rows.start for rows in layer.tiles) // 64)
    bits = layer.setup.cells.bits
    weights = [1 << k for k in range(bits)]
    weights += [-w for w in weights] if layer.signed.any() else []
    parts = [_of_tile(layer, where[:, :, tile], tile, words) for tile in range(len(layer.tiles))]
    joined = [np.concatenate([part[k] for part in parts]) for k in range(7)]
    tile, cells, low, high, inverse, worth, output = joined
    return Packed(
        tile.astype(np.int32), cells, low, high, inverse, worth, output.astype(np.int32),
        np.array(weights, np.int64), words,
    )  # fmt: skip


def _of_tile(
    layer: Layer, where: NDArray[np.bool_], tile: int, words: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64],
           NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:  # fmt: skip
    plane, slice_, output = np.nonzero(where)
    digits = layer.digits[plane, slice_, output, layer.tiles[tile]]
    planes = [digits.clip(min=0) >> k & 1 for k in range(layer.setup.cells.bits)]
    if layer.signed.any():
        planes += [(-digits).clip(min=0) >> k & 1 for k in range(layer.setup.cells.bits)]
    chosen = plane, slice_, np.full_like(plane, tile), output
    step = layer.converters.step[chosen]
    worth = layer.worth[plane, slice_] * layer.scales[tile, output] * step
    groups = -(-len(output) // LANES)
    cells = _grouped(np.stack([_words(each, words) for each in planes], axis=1), groups)
    return (
        np.full(groups, tile), np.ascontiguousarray(np.moveaxis(cells, 1, 3)),
        _grouped(layer.converters.low[chosen].astype(np.int64), groups),
        _grouped(layer.converters.high[chosen].astype(np.int64), groups),
        _grouped(1.0 / step, groups), _grouped(worth, groups), _grouped(output, groups),
    )  # fmt: skip


def _grouped(values: NDArray[T], groups: int) -> NDArray[T]:
    """(bitlines, ...) as (groups, LANES, ...), the rest 0."""
    padded = np.zeros((groups * LANES, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded.reshape(groups, LANES, *values.shape[1:])


def _words(bits: NDArray[np.int8] | NDArray[np.uint8], words: int) -> NDArray[np.uint64]:
    """Bits (..., inputs) as (..., words) of 64."""
    packed = np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little")
    out = np.zeros((*bits.shape[:-1], words * 8), np.uint8)
    out[..., : packed.shape[-1]] = packed
    return out.view("<u8")


def add(packed: Packed, layer: Layer, planes: NDArray[np.uint8], out: NDArray[np.float64], variant: str = "") -> bool:
    """Add to `out` (vectors, outputs) what the bitlines convert in all cycles; False where no kernel runs here."""
    kernels = find()
    if not kernels:
        return False
    inputs = np.stack([np.moveaxis(_words(planes[:, :, rows], packed.words), 0, 1) for rows in layer.tiles])
    inputs, wanted = np.ascontiguousarray(inputs), layer.setup.inputs
    arrays = (
        inputs, packed.weights, packed.tile, packed.cells, packed.low, packed.high, packed.inverse,
        packed.worth, packed.output, out,
    )  # fmt: skip
    whole = int((packed.inverse[packed.worth != 0] == 1).all())
    sizes = (
        out.shape[0], len(layer.tiles), wanted.bits, packed.words, len(packed.weights), len(packed.tile),
        out.shape[1], whole, int(wanted.signed),
    )  # fmt: skip
    asked = Sums(*sizes, *(array.ctypes.data for array in arrays))
    kernels[variant or list(kernels)[-1]](ctypes.byref(asked))
    return True
