"""From digits to what the cells conduct: static effects in the order in which they happen, once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.cells import Cells, Digits
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.device import Device
from dovetail.crossbar.wires import effective

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Chip:
    """What chance made of the cells of some arrays: the same for every content that is written into them.

    Parameters
    ----------
    cells : Cells
    device : Device
    spread : array or None
        Factor on what a cell is programmed to.
    exponent : array or None
        Of each cell's drift.
    stuck : array of int8
        -1 and 1 where a cell is stuck at its lowest and highest level, 0 elsewhere.
    """

    cells: Cells
    device: Device
    spread: Floats | None
    exponent: Floats | None
    stuck: NDArray[np.int8]

    @classmethod
    def drawn(cls, shape: tuple[int, ...], cells: Cells, device: Device, rng: np.random.Generator) -> Chip:
        """A chip whose cells have `shape`."""
        spread = exponent = None
        if device.program_sigma:
            spread = 1 + device.program_sigma * rng.standard_normal(shape)
        if device.seconds > 1 and (device.drift or device.drift_sigma):
            exponent = device.drift + device.drift_sigma * rng.standard_normal(shape)
        stuck = np.zeros(shape, np.int8)
        if device.stuck_low or device.stuck_high:
            chance = rng.random(shape)
            stuck[chance < device.stuck_low] = -1
            stuck[chance >= 1 - device.stuck_high] = 1
        return cls(cells, device, spread, exponent, stuck)

    def conducts(self, digits: Digits, place: tuple[int, ...] = (), *, aged: bool = True) -> Floats:
        """Conductance in steps of cells that hold digits of 0 or more, those at `place` of the chip.

        Not `aged`: when they have just been programmed.
        """
        lowest = self.device.kappa(self.cells.levels)
        real: Floats = digits.astype(np.float64) + lowest
        if self.spread is not None:
            real = np.maximum(real * self.spread[place], 0.0)
        if aged and self.exponent is not None:
            real = real * self.device.seconds ** -self.exponent[place]
        if aged:
            real = lowest + (real - lowest) * self.device.kept
        real = np.where(self.stuck[place] < 0, lowest, real)
        return np.where(self.stuck[place] > 0, self.cells.levels + lowest, real)


def chips(shape: tuple[int, ...], cells: Cells, device: Device, seed: int) -> tuple[Chip, ...]:
    """The chip of digits of `shape`; two where a digit has two cells on one bitline."""
    rng = np.random.default_rng([seed, 1])
    return tuple(Chip.drawn(shape, cells, device, rng) for _ in range(2 if cells.signed else 1))


def programmed(
    digits: Digits, starts: NDArray[np.intp], arrays: Arrays, made: tuple[Chip, ...]
) -> tuple[NDArray[np.float32] | None, float]:  # fmt: skip
    """Conductances in steps, shape of `digits`, and what each input that is on adds to a bitline beyond that.

    None where every cell conducts its digit. Where digits have a sign, so do conductances: those of two cells.
    """
    first = made[0]
    if not first.device.static:
        return None, 0.0
    if first.cells.signed:
        both = [chip.conducts(np.maximum(sign * digits, 0)) for chip, sign in zip(made, (1, -1))]
        wired = [_wired(each, starts, arrays, first) for each in both]
        return (wired[0] - wired[1]).astype(np.float32), 0.0
    real = _wired(first.conducts(digits), starts, arrays, first)
    kappa = first.device.kappa(first.cells.levels)
    if first.device.off_column:
        return (real - kappa).astype(np.float32), 0.0
    return real.astype(np.float32), kappa


def _wired(real: Floats, starts: NDArray[np.intp], arrays: Arrays, chip: Chip) -> Floats:
    """As seen through resistive wires: each array by itself, its columns in order."""
    if not chip.device.wire:
        return real
    highest = chip.cells.levels + chip.device.kappa(chip.cells.levels)
    out, ends = np.empty_like(real), [*starts[1:].tolist(), real.shape[3]]
    for start, end in zip(starts.tolist(), ends):
        for first in range(0, real.shape[2], arrays.columns):
            part = np.s_[:, :, first : first + arrays.columns, start:end]
            through = effective(np.swapaxes(real[part], 2, 3) / highest, chip.device.wire)
            out[part] = np.swapaxes(through, 2, 3) * highest
    return out
