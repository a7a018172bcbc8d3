"""What a layer in arrays costs: area once, energy and time for each vector, by part and by model of the converters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.layer import Layer
from dovetail.hardware.adc import MODELS, AdcModel
from dovetail.hardware.crossbar_parts import ISAAC, Parts

FILL = 6  # cycles of a tile's pipeline before its first result leaves and after its last read (ISAAC, figure 4)


@dataclass(frozen=True, slots=True)
class Work:
    """What one layer does for one vector, counted.

    Parameters
    ----------
    arrays : int
        That it fills; those of two cells a digit count twice.
    cycles : int
        Bits of its inputs.
    conversions : array, shape (bits + 1,)
        By the converters' bits, of one vector. Bitlines that hold no digit are not converted.
    skipped : float
        Conversions that are left out: of empty bitlines, and in cycles without an input that is on.
    busiest : array, shape (kinds, bits + 1)
        Conversions of one cycle by their bits, of every kind of array there is: the slowest sets the cycle.
    drives, cells, shifts, bytes_moved : float
        Wordlines driven, cells read, shift-and-adds, and bytes through buffer, bus and registers, of one vector.
    converters : array, shape (bits + 1,)
        Converters by bits: of each array one for every width that its bitlines are converted with.
    """

    arrays: int
    cycles: int
    conversions: NDArray[np.float64]
    skipped: float
    busiest: NDArray[np.float64]
    drives: float
    cells: float
    shifts: float
    bytes_moved: float
    converters: NDArray[np.float64]
    rows: int
    columns: int


def work(layer: Layer, live_cycles: float | None = None) -> Work:
    """Count what a layer does for one vector.

    Parameters
    ----------
    live_cycles : float
        Share of a tile's cycles in which an input is on, as measured; all where nothing was measured.
    """
    setup, (outputs, inputs) = layer.setup, layer.codes.shape
    live = layer.statistics.highest > layer.statistics.lowest
    bits = np.where(live, layer.converters.bits, 0)
    share, cycles = 1.0 if live_cycles is None else live_cycles, setup.inputs.bits
    counted = np.bincount(bits.ravel(), minlength=13).astype(np.float64) * cycles * share
    total, counted[0] = bits.size * cycles, 0.0
    blocks = np.arange(0, outputs, setup.arrays.columns)
    cells_per_digit = 2 if setup.cells.signed else 1
    arrays = bits.shape[0] * bits.shape[1] * bits.shape[2] * len(blocks) * cells_per_digit
    by_array = np.stack([np.add.reduceat(bits == b, blocks, axis=3) for b in range(13)])
    converters = np.count_nonzero(by_array.reshape(13, -1), axis=1).astype(np.float64)
    converters[0] = 0.0
    busiest = np.unique(by_array[1:].reshape(12, -1).T, axis=0).astype(np.float64)
    busiest = np.pad(busiest, ((0, 0), (1, 0)))
    used = np.add.reduceat(live, blocks, axis=3).astype(bool)
    if layer.arrangement is not None:  # a subtracting bitline's cells stand in the second plane's array
        used[1] |= used[0] & np.logical_or.reduceat(layer.arrangement.paired, blocks, axis=2)
    drives = float(np.einsum("pstb,t->", used, _heights(layer))) * cycles * share * cells_per_digit
    return Work(
        arrays, cycles, counted, total - counted.sum(), busiest, drives,
        float(layer.digits.size) * cycles * share * cells_per_digit, float(counted.sum()),
        float(inputs * len(blocks) * cycles / 8 + outputs * 4),
        converters, setup.arrays.rows, setup.arrays.columns,
    )  # fmt: skip


def _heights(layer: Layer) -> NDArray[np.int64]:
    return np.diff(np.append(layer.starts, layer.codes.shape[1])).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one layer, or of several that a vector passes one after the other.

    Parameters
    ----------
    adc : str
        The model of the converters, as its title says it.
    energy_j : mapping of part to J
        For each vector.
    area_mm2 : mapping of part to mm2
    time_s : float
        Of one vector through the layers, each after the other.
    interval_s : float
        Between vectors in a pipeline: the slowest layer's.
    """

    adc: str
    energy_j: dict[str, float]
    area_mm2: dict[str, float]
    time_s: float
    interval_s: float

    @property
    def energy(self) -> float:
        return sum(self.energy_j.values())

    @property
    def area(self) -> float:
        return sum(self.area_mm2.values())

    def to_json(self) -> dict[str, Any]:
        return {"adc": self.adc, "energy_j": self.energy_j, "area_mm2": self.area_mm2,
                "time_s": self.time_s, "interval_s": self.interval_s}  # fmt: skip


def cost(done: Work, adc: AdcModel, parts: Parts = ISAAC) -> Cost:
    """Energy, area and time of one layer.

    A cycle takes as long as reading the array, or as its converter needs for the bitlines of the busiest array.
    """
    bits = np.arange(len(done.conversions))
    cycle = max(parts.read_s, float((done.busiest @ adc.time_s(bits)).max()))
    converted = float(done.conversions.sum())
    energy = {
        "adc": float(done.conversions @ adc.energy_j(bits)), "driver": done.drives * parts.driver_j,
        "array": done.cells * parts.cell_j, "hold": converted * parts.hold_j,
        "shift_add": done.shifts * parts.shift_add_j,
        "register": done.bytes_moved * parts.register_j, "buffer": done.bytes_moved * parts.buffer_j,
        "bus": done.bytes_moved * parts.bus_j,
        "tile": done.arrays / parts.tile_arrays * parts.tile_w * cycle * done.cycles,
    }  # fmt: skip
    size, arrays = done.rows * done.columns, done.arrays
    area = {
        "adc": float(done.converters @ adc.area_mm2(bits)), "driver": arrays * done.rows * parts.driver_mm2,
        "array": arrays * size * parts.cell_mm2, "hold": arrays * done.columns * parts.hold_mm2,
        "shift_add": arrays * parts.shift_add_mm2, "register": arrays * parts.register_mm2,
        "tile": arrays / parts.tile_arrays * parts.tile_mm2,
    }  # fmt: skip
    return Cost(adc.title, energy, area, (done.cycles + FILL) * cycle, done.cycles * cycle)


def total(costs: Sequence[Cost]) -> Cost:
    """Of layers that one vector passes one after the other, all priced by one model."""
    energy = {part: sum(each.energy_j[part] for each in costs) for part in costs[0].energy_j}
    area = {part: sum(each.area_mm2[part] for each in costs) for part in costs[0].area_mm2}
    return Cost(costs[0].adc, energy, area, sum(each.time_s for each in costs), max(each.interval_s for each in costs))


def by_model(works: Sequence[Work], parts: Parts = ISAAC) -> dict[str, Cost]:
    """The same layers under every model of the converters."""
    return {name: total([cost(each, model, parts) for each in works]) for name, model in MODELS.items()}
