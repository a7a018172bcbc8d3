"""From digits to what the cells conduct: static effects in the order in which they happen, once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.cells import Cells, Digits
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.device import Device
from dovetail.crossbar.wires import effective

Floats = NDArray[np.float64]


def programmed(
    digits: Digits, starts: NDArray[np.intp], cells: Cells, arrays: Arrays, device: Device, seed: int
) -> tuple[NDArray[np.float32] | None, float]:
    """Conductances in steps, shape of `digits`, and what each input that is on adds to a bitline beyond that.

    None where every cell conducts its digit. Where digits have a sign, so do conductances: those of two cells.
    """
    if not device.static:
        return None, 0.0
    rng = np.random.default_rng([seed, 1])
    if cells.signed:
        both = [_real(np.maximum(sign * digits, 0), cells, device, rng) for sign in (1, -1)]
        wired = [_wired(each, starts, cells, arrays, device) for each in both]
        return (wired[0] - wired[1]).astype(np.float32), 0.0
    wired_one = _wired(_real(digits, cells, device, rng), starts, cells, arrays, device)
    kappa = device.kappa(cells.levels)
    if device.off_column:
        return (wired_one - kappa).astype(np.float32), 0.0
    return wired_one.astype(np.float32), kappa


def _real(digits: Digits, cells: Cells, device: Device, rng: np.random.Generator) -> Floats:
    """Programmed, drifted, and with its defects: the lowest level is `kappa`."""
    lowest = device.kappa(cells.levels)
    highest = cells.levels + lowest
    real: Floats = digits.astype(np.float64) + lowest
    if device.program_sigma:
        real = np.maximum(real * (1 + device.program_sigma * rng.standard_normal(digits.shape)), 0.0)
    if device.seconds > 1 and (device.drift or device.drift_sigma):
        exponent = device.drift + device.drift_sigma * rng.standard_normal(digits.shape)
        real = real * device.seconds**-exponent
    real = lowest + (real - lowest) * device.kept
    if device.stuck_low or device.stuck_high:
        drawn = rng.random(digits.shape)
        real = np.where(drawn < device.stuck_low, lowest, real)
        real = np.where(drawn >= 1 - device.stuck_high, highest, real)
    return real


def _wired(real: Floats, starts: NDArray[np.intp], cells: Cells, arrays: Arrays, device: Device) -> Floats:
    """As seen through resistive wires: each array by itself, its columns in order."""
    if not device.wire:
        return real
    highest = cells.levels + device.kappa(cells.levels)
    out, ends = np.empty_like(real), [*starts[1:].tolist(), real.shape[3]]
    for start, end in zip(starts.tolist(), ends):
        for first in range(0, real.shape[2], arrays.columns):
            part = np.s_[:, :, first : first + arrays.columns, start:end]
            out[part] = np.swapaxes(effective(np.swapaxes(real[part], 2, 3) / highest, device.wire), 2, 3) * highest
    return out
