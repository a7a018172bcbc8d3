"""Sums that bitlines really make on given inputs: what converters are calibrated and planned by."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dovetail.crossbar.layer import Layer

Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """How often each sum came, for every bitline of one plane, slice and tile: (outputs, sums from `lowest` on)."""

    place: tuple[int, int, int]
    counts: Counts
    lowest: int

    @property
    def sums(self) -> NDArray[np.int64]:
        return self.lowest + np.arange(self.counts.shape[1])


def histograms(layer: Layer, x: NDArray[np.int32]) -> Iterator[Histogram]:
    """Of all bitlines, one plane, slice and tile after the other, over the vectors and cycles of `x`.

    Cells count as their digits: a converter is set for what is programmed, not for one chip's spread.
    """
    planes = layer.setup.inputs.planes(layer.driven(x))
    outputs = np.arange(layer.codes.shape[0], dtype=np.int64)
    for tile, rows in enumerate(layer.tiles):
        on = planes[:, :, rows].reshape(-1, rows.stop - rows.start).astype(np.float32)
        for plane, slice_ in np.ndindex(*layer.digits.shape[:2]):
            place = plane, slice_, tile
            lowest, highest = int(layer.statistics.lowest[place].min()), int(layer.statistics.highest[place].max())
            width = highest - lowest + 1
            sums = (on @ layer.digits[plane, slice_, :, rows].T.astype(np.float32)).astype(np.int64) - lowest
            counts = np.bincount((sums + outputs * width).ravel(), minlength=len(outputs) * width)
            yield Histogram(place, counts.reshape(len(outputs), width), lowest)
