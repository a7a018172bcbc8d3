"""Bitlines whose sums are no integers: one matrix product a tile and slice, one draw a conversion, the converter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.layer import Layer


def needed(layer: Layer) -> bool:
    """Whether cells vary or reads are noisy."""
    return layer.conductance is not None or layer.setup.device.read_sigma > 0


def add(
    layer: Layer, planes: NDArray[np.uint8], out: NDArray[np.float64], seed: int = 0,
    where: NDArray[np.bool_] | None = None,
) -> None:  # fmt: skip
    """Add to `out` (vectors, outputs) what the bitlines in `where` convert; all that hold a digit where it is None.

    The noise of a read is normal and independent by cell, so that of a sum of n cells that are on is normal with n
    times the variance: one draw a conversion, before the converter, stands for all of its cells.
    """
    live = (layer.statistics.highest > layer.statistics.lowest) if where is None else where
    cycles, vectors, _ = planes.shape
    rng = np.random.default_rng([seed, layer.setup.seed, 3])
    sigma = np.float32(layer.setup.device.read_sigma * (np.sqrt(2.0) if layer.setup.cells.signed else 1.0))
    cells = layer.digits if layer.conductance is None else layer.conductance
    places = layer.setup.inputs.place_values.astype(np.float32)
    for tile, rows in enumerate(layer.tiles):
        on = planes[:, :, rows].reshape(cycles * vectors, -1).astype(np.float32)
        count = on.sum(axis=1, dtype=np.float32)[:, None]
        spread = sigma * np.sqrt(count)
        for (plane, slice_), worth in np.ndenumerate(layer.worth):
            chosen = np.flatnonzero(live[plane, slice_, tile])
            if not chosen.size:
                continue
            sums = on @ cells[plane, slice_, chosen, rows].T.astype(np.float32)
            if sigma:
                sums += spread * rng.standard_normal(sums.shape, dtype=np.float32)
            seen = _converted(layer, (plane, slice_, tile), chosen, sums)
            if layer.offset:
                seen -= np.float32(layer.offset) * count
            total = np.tensordot(places, seen.reshape(cycles, vectors, -1), axes=1)
            out[:, chosen] += total * (worth * layer.scales[tile, chosen])


def _converted(
    layer: Layer, place: tuple[int, int, int], chosen: NDArray[np.intp], sums: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What the converters of one tile, plane and slice make of `sums` (cycles x vectors, chosen), in place."""
    step = layer.converters.step[place][chosen]
    ideal = step == 0
    if ideal.all():
        return sums
    low, high = layer.converters.low[place][chosen], layer.converters.high[place][chosen]
    unit = bool((step == 1).all())
    scale = np.where(ideal, 1.0, step).astype(np.float32)
    before = sums.copy() if ideal.any() else sums
    if not unit:
        sums *= (1.0 / scale).astype(np.float32)
    sums += np.float32(0.5)
    np.floor(sums, out=sums)
    np.clip(sums, low.astype(np.float32), high.astype(np.float32), out=sums)
    if not unit:
        sums *= scale
    return np.where(ideal, before, sums) if ideal.any() else sums
