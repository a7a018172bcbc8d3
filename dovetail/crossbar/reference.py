"""The plain definition of what arrays compute: every cell, every cycle, every conversion. Slow, meant to be read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.layer import Layer


def multiply_plainly(layer: Layer, x: Any, seed: int = 0) -> NDArray[np.float64]:
    """Weights times inputs, shape (vectors, outputs): integers of `x` times what codes stand for.

    Parameters
    ----------
    layer : Layer
    x : array_like of int, shape (vectors, inputs)
    seed : int
        Of the noise of reads, one draw for each cell that is on.
    """
    setup, inputs = layer.setup, layer.setup.inputs
    whole = layer.driven(x)
    conductance = layer.digits.astype(np.float64) if layer.conductance is None else layer.conductance
    rng = np.random.default_rng([seed, setup.seed, 2])
    out = np.zeros((len(whole), layer.codes.shape[0]))
    for cycle, (place, on) in enumerate(zip(inputs.place_values, inputs.planes(whole))):
        del cycle
        for tile, rows in enumerate(layer.tiles):
            sums_of_inputs = on[:, rows].sum(axis=1, dtype=np.int64)[:, None]
            for (plane, slice_), worth in np.ndenumerate(layer.worth):
                cells = conductance[plane, slice_, :, rows].astype(np.float64)
                sums = on[:, rows].astype(np.float64) @ cells.T
                if setup.device.read_sigma:
                    sums += _noise(on[:, rows], len(cells), setup.device.read_sigma * _pairs(layer), rng)
                seen = layer.converters.at(plane, slice_, tile).convert(sums) - layer.offset * sums_of_inputs
                live = (layer.statistics.highest - layer.statistics.lowest)[plane, slice_, tile] > 0
                out += np.where(live, place * worth * layer.scales[tile] * seen, 0.0)
            out -= place * setup.cells.offset(layer.codes.grid.bits) * layer.scales[tile] * sums_of_inputs
    return out


def _pairs(layer: Layer) -> float:
    """Two cells on a bitline are noisier than one."""
    return float(np.sqrt(2.0)) if layer.setup.cells.signed else 1.0


def _noise(on: NDArray[np.uint8], outputs: int, sigma: float, rng: np.random.Generator) -> NDArray[np.float64]:
    draws = rng.standard_normal((len(on), outputs, on.shape[1]))
    noise: NDArray[np.float64] = sigma * np.einsum("bor,br->bo", draws, on)
    return noise
