"""Free choices of a mapping: what a layer computes stays the same to the last bit, and its converters shrink.

Four choices cost no quality. Each column of a tile takes the digits, `differential` or `balanced`, that need the
cheaper converters. The two bitlines of a digit are converted apart and subtracted as numbers, or their currents
subtract and one converter with a sign sees the difference (`sign-magnitude`), whichever is cheaper in an array. Inputs
trade places between tiles, so that sums level and bitlines become empty. An array has converters of a few widths: most
bitlines go to the narrow one, the rest to the wide one, those without a digit to none.

All converters hold every sum that their bitlines can make: nothing is lost, whatever the inputs are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.crossbar.adc import MOST_BITS, Converters, code_range
from dovetail.crossbar.cells import Cells, Digits
from dovetail.crossbar.columns import digit_statistics, needed_bits, signed_bits
from dovetail.crossbar.conductance import chips, programmed
from dovetail.crossbar.exchange import Prices, exchanged
from dovetail.crossbar.layer import Arrangement, Layer
from dovetail.hardware.adc import AdcModel

Flags = NDArray[np.bool_]
ENCODINGS = ("differential", "balanced", "sign-magnitude")


@dataclass(frozen=True, slots=True)
class Choosing:
    """Which choices `arranged` has.

    Parameters
    ----------
    encodings : tuple of str
        Of ``differential, balanced, sign-magnitude``. The last lets currents of two cells subtract, and is left out
        where cells or reads are not ideal: two cells on a bitline have other errors than two bitlines.
    widths : int
        Converters of different widths in an array, 1 to 4.
    tries : int
        Exchanges of inputs between tiles that are tried; 0: inputs stay where they are.

    Raises
    ------
    DovetailError
        An encoding that is no choice; no way to write a sign; numbers out of range.
    """

    encodings: tuple[str, ...] = ENCODINGS
    widths: int = 2
    tries: int = 500

    def __post_init__(self) -> None:
        for name in self.encodings:
            if name not in ENCODINGS:
                hint = did_you_mean(name, list(ENCODINGS))
                raise DovetailError(f"no choice of '{name}'", where="arrange encodings", hint=hint)
        if not self.encodings:
            hint = f"one or more of {', '.join(ENCODINGS)}"
            raise DovetailError("no encoding to choose from", where="arrange encodings", hint=hint)
        if not 1 <= self.widths <= 4:
            why = "each is a converter more beside every array"
            raise DovetailError(f"{self.widths} widths of converters", where="arrange", why=why, hint="2: 1 to 4")
        if self.tries < 0:
            raise DovetailError(f"{self.tries} exchanges", where="arrange tries", hint="500; 0 for none")


def arranged(layer: Layer, adc: AdcModel, choosing: Choosing | None = None) -> Layer:
    """The same codes arranged for the least energy of conversions, with converters that lose nothing.

    Parameters
    ----------
    layer : Layer
        In `differential` or `balanced` cells, just written.
    adc : AdcModel
        Prices what is chosen.

    Raises
    ------
    DovetailError
        Another encoding, converters with steps, off currents, sums that no converter holds.
    """
    choosing = choosing or Choosing()
    _check(layer)
    ways, balanced = _ways(layer, choosing)
    ideal = not layer.setup.device.static and not layer.setup.device.read_sigma
    subtract = "sign-magnitude" in choosing.encodings and (ideal or choosing.encodings == ("sign-magnitude",))
    if subtract and not ideal:
        why, hint = "two cells on a bitline have other errors than two bitlines", "differential and balanced"
        raise DovetailError("currents of real cells that subtract", where="arrange encodings", why=why, hint=hint)
    apart = choosing.encodings != ("sign-magnitude",)
    prices = Prices.of(adc)
    order = np.arange(layer.codes.shape[1])
    picked, paired = _encoded(ways, layer, prices, subtract, apart)
    if choosing.tries and len(layer.starts) > 1:
        order = exchanged(_merged(ways, picked, layer), paired, layer, prices, choosing.tries)
        ways = [each[..., order] for each in ways]
        picked, paired = _encoded(ways, layer, prices, subtract, apart)
    found = Arrangement(order, paired, np.array(balanced)[picked], choosing.widths)
    return _written(layer, _merged(ways, picked, layer), found, prices)


def _check(layer: Layer) -> None:
    cells, adc = layer.setup.cells, layer.setup.adc
    if cells.encoding not in ("differential", "balanced"):
        why = "the arrangement chooses the encoding of each column from two cells a digit"
        hint = "--encoding differential"
        raise DovetailError(f"cells in '{cells.encoding}' are not arranged", where="encoding", why=why, hint=hint)
    if adc.kind in ("uniform", "calibrated"):
        why = "each bitline gets the converter that loses nothing"
        raise DovetailError(f"{adc.kind} converters are not arranged", where="adc", why=why, hint="--adc saturating")
    if layer.offset:
        why = "off currents of all rows that are on are converted as well"
        raise DovetailError("no converters that lose nothing", where="device off_column", why=why, hint="off_column=1")
    if layer.arrangement is not None:
        raise DovetailError("it is arranged already", where="arrange", hint="arrange a layer that was just written")


def _ways(layer: Layer, choosing: Choosing) -> tuple[list[Digits], list[bool]]:
    """Digits (2, slices, outputs, inputs) that columns may choose from, and which are balanced."""
    names = [name for name in choosing.encodings if name != "sign-magnitude"] or ["differential"]
    return [Cells(layer.setup.cells.bits, name).split(layer.codes) for name in names], [n == "balanced" for n in names]


def _encoded(
    ways: list[Digits], layer: Layer, prices: Prices, subtract: bool, apart: bool
) -> tuple[NDArray[np.intp], Flags]:  # fmt: skip
    """Which way each column of a tile takes (tiles, outputs), and whose currents subtract (slices, tiles, outputs).

    The choices depend on each other: they are made in turns, from both ends, and the cheaper end counts.
    """
    found = [digit_statistics(each, layer.starts).highest for each in ways]
    alone = np.stack([prices.energy[needed_bits(high)].sum(axis=0) for high in found])  # ways, slices, tiles, outputs
    joint = np.stack([prices.energy[signed_bits(high[0], -high[1])] for high in found])
    blocks = np.arange(0, layer.codes.shape[0], layer.setup.arrays.columns)
    shape = (*alone.shape[1:3], len(blocks))
    ends = [np.full(shape, way) for way, offered in ((False, apart), (True, subtract)) if offered]
    tried: list[tuple[float, NDArray[np.intp], Flags]] = []
    for paired in ends:
        for _ in range(4):
            wide = np.repeat(paired, layer.setup.arrays.columns, axis=2)[:, :, : alone.shape[3]]
            picked = np.where(wide, joint, alone).sum(axis=1).argmin(axis=0)
            sums = [np.add.reduceat(np.take_along_axis(each, picked[None, None], axis=0)[0], blocks, axis=2)
                    for each in (alone, joint)]  # fmt: skip
            total = float(np.where(paired, sums[1], sums[0]).sum())
            tried.append((total, picked, wide))
            paired = sums[1] < sums[0] if subtract and apart else paired
    _, picked, wide = min(tried, key=lambda one: one[0])
    return picked, wide


def _merged(ways: list[Digits], picked: NDArray[np.intp], layer: Layer) -> Digits:
    """Each column's digits in each tile, by the way it took."""
    heights = [rows.stop - rows.start for rows in layer.tiles]
    chosen = np.repeat(picked, heights, axis=0).T  # outputs, inputs
    merged = ways[0]
    for way, digits in enumerate(ways[1:], 1):
        merged = np.where(chosen == way, digits, merged)
    return merged


def _written(layer: Layer, cells: Digits, arrangement: Arrangement, prices: Prices) -> Layer:
    """A layer of the digits `cells`, currents subtracted and converters fitted as it is arranged."""
    setup, paired = layer.setup, arrangement.paired
    codes = replace(layer.codes, values=np.ascontiguousarray(layer.codes.values[:, arrangement.order]))
    heights = [rows.stop - rows.start for rows in layer.tiles]
    joined = np.repeat(paired, heights, axis=1).swapaxes(1, 2)  # slices, outputs, inputs
    digits = np.stack([np.where(joined, cells[0] - cells[1], cells[0]), np.where(joined, np.int8(0), cells[1])])
    made = chips(digits.shape, setup.cells, setup.device, setup.seed) if setup.device.static else ()
    conductance, offset = programmed(digits, layer.starts, setup.arrays, made) if made else (None, 0.0)
    found = Layer(
        codes, setup, digits, layer.starts, digit_statistics(digits, layer.starts), layer.converters, conductance,
        offset, arrangement,
    )  # fmt: skip
    return _fitted(found, prices)


def fitted(layer: Layer, adc: AdcModel) -> Layer:
    """An arranged layer whose digits were written anew, with the converters that lose nothing of them."""
    return _fitted(layer, Prices.of(adc))


def _fitted(layer: Layer, prices: Prices) -> Layer:
    if layer.arrangement is None:
        raise DovetailError("a layer that is not arranged", hint="arranged(layer, adc) first")
    found = layer.statistics
    needed = np.where(layer.signed, signed_bits(found.highest, found.lowest), found.bits)
    bits = shared(needed, layer.setup.arrays.columns, layer.arrangement.widths, prices)
    low, high = code_range(np.maximum(bits, 1), layer.signed)
    return layer.with_converters(Converters(np.ones(bits.shape), low, high, bits))


def shared(bits: NDArray[np.int64], columns: int, widths: int, prices: Prices) -> NDArray[np.int64]:
    """Bits that bitlines are converted with where each array has `widths` converters: the cheapest that hold all.

    Parameters
    ----------
    bits : array of int, shape (..., outputs)
        That each bitline needs; 0: it is not converted.
    columns : int
        Bitlines of an array.

    Raises
    ------
    DovetailError
        More bits than converters have.
    """
    if bits.max(initial=0) > MOST_BITS:
        why = f"a bitline adds up to {bits.max()} bits, converters have at most {MOST_BITS}"
        raise DovetailError("no converter holds every sum", where="arrange", why=why, hint="arrays of fewer rows")
    out = np.zeros_like(bits)
    for first in range(0, bits.shape[-1], columns):
        part = bits[..., first : first + columns]
        out[..., first : first + columns] = _shared(part.reshape(-1, part.shape[-1]), widths, prices).reshape(
            part.shape
        )
    return out


def _shared(bits: NDArray[np.int64], widths: int, prices: Prices) -> NDArray[np.int64]:
    """The same of arrays (arrays, bitlines), each by itself."""
    widest = bits.max(axis=1, keepdims=True)
    best, least = np.where(bits > 0, widest, 0), np.full((len(bits), 1), np.inf)
    for narrow in combinations(range(1, int(widest.max(initial=1)) + 1), widths - 1):
        tried = np.where(bits > 0, widest, 0)
        for width in reversed(narrow):
            tried = np.where((bits > 0) & (bits <= width) & (width < tried), width, tried)
        energy = prices.energy[tried].sum(axis=1, keepdims=True)
        best, least = np.where(energy < least, tried, best), np.minimum(energy, least)
    return best
