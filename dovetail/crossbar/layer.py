"""A coded matrix written into arrays: digits, what the cells really conduct, and a converter for every bitline."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.adc import Adc, Converters
from dovetail.crossbar.cells import Cells, Digits
from dovetail.crossbar.codes import Codes
from dovetail.crossbar.columns import Arrays, SliceStatistics, digit_statistics
from dovetail.crossbar.conductance import chips, programmed
from dovetail.crossbar.device import Device
from dovetail.crossbar.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Setup:
    """What a matrix is written into. `seed` fixes defects, spread and noise."""

    cells: Cells = field(default_factory=Cells)
    arrays: Arrays = field(default_factory=Arrays)
    adc: Adc = field(default_factory=Adc)
    inputs: Inputs = field(default_factory=Inputs)
    device: Device = field(default_factory=Device)
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Arrangement:
    """Free choices of a layer in two planes, as `arrange.py` makes them.

    Parameters
    ----------
    order : array of int, shape (inputs,)
        The input that drives each row.
    paired : array of bool, shape (slices, tiles, outputs)
        Where the currents of both planes subtract: digits have their sign in the first plane, none stand in the second,
        whose cells are those below 0.
    balanced : array of bool, shape (tiles, outputs)
        Whose digits are of either sign.
    widths : int
        Converters of an array that differ in their bits.
    """

    order: NDArray[np.intp]
    paired: NDArray[np.bool_]
    balanced: NDArray[np.bool_]
    widths: int


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A matrix in arrays.

    Parameters
    ----------
    codes : Codes
        In the order of the rows.
    setup : Setup
    digits : array of int8, shape (planes, slices, outputs, inputs)
    starts : array of int, shape (tiles,)
        First input of each tile.
    statistics : SliceStatistics
        The static bounds of every bitline.
    converters : Converters
    conductance : array of float32 or None
        Of every cell in steps, where devices are not ideal; None where it is `digits`.
    offset : float
        Steps that each input that is on adds to a bitline beyond its digits, subtracted after the conversion.
    arrangement : Arrangement or None
    """

    codes: Codes
    setup: Setup
    digits: Digits
    starts: NDArray[np.intp]
    statistics: SliceStatistics
    converters: Converters
    conductance: NDArray[np.float32] | None = None
    offset: float = 0.0
    arrangement: Arrangement | None = None

    def driven(self, x: Any) -> NDArray[np.int32]:
        """Inputs (vectors, inputs) in the order of the rows, checked."""
        whole = self.setup.inputs.checked(x, self.codes.shape[1])
        return whole if self.arrangement is None else np.ascontiguousarray(whole[:, self.arrangement.order])

    @property
    def signed(self) -> NDArray[np.bool_]:
        """Bitlines (planes, slices, tiles, outputs) whose sums may be negative."""
        out = np.full(self.statistics.highest.shape, self.setup.cells.signed)
        if self.arrangement is not None:
            out[0] = self.arrangement.paired
        return out

    @property
    def tiles(self) -> tuple[slice, ...]:
        """The inputs of each tile."""
        ends = [*self.starts[1:].tolist(), self.codes.shape[1]]
        return tuple(slice(start, end) for start, end in zip(self.starts.tolist(), ends))

    @property
    def worth(self) -> NDArray[np.int64]:
        """What one step of a bitline counts in codes, shape (planes, slices)."""
        cells, bits = self.setup.cells, self.codes.grid.bits
        return np.multiply.outer(np.array(cells.polarities, np.int64), cells.place_values(bits).astype(np.int64))

    @property
    def scales(self) -> NDArray[np.float64]:
        """What one code counts in each tile, shape (tiles, outputs)."""
        groups = self.starts // self.codes.group
        return np.broadcast_to(self.codes.steps[:, groups].T, (len(self.starts), self.codes.shape[0]))

    def with_converters(self, converters: Converters) -> Layer:
        """The same cells before other converters."""
        return replace(self, converters=converters)


def write(codes: Codes, setup: Setup | None = None) -> Layer:
    """Write a coded matrix into arrays.

    Raises
    ------
    DovetailError
        Converters whose bits do not match the slices.
    """
    setup = setup or Setup()
    digits = setup.cells.split(codes)
    starts = setup.arrays.starts(codes.shape[1], codes.group)
    found = digit_statistics(digits, starts)
    heights = np.diff(np.append(starts, codes.shape[1]))
    converters = setup.adc.converters(found.highest.shape, heights * setup.cells.levels, setup.cells.signed)
    made = chips(digits.shape, setup.cells, setup.device, setup.seed) if setup.device.static else ()
    conductance, offset = programmed(digits, starts, setup.arrays, made) if made else (None, 0.0)
    return Layer(codes, setup, digits, starts, found, converters, conductance, offset)
