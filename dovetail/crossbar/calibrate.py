"""Ranges of converters from inputs: few codes go where the sums are, and the rest is cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.crossbar.adc import Converters, code_range
from dovetail.crossbar.layer import Layer
from dovetail.crossbar.sums import Histogram, histograms

SCOPES = ("slice", "column")
_RANGES = 24  # candidates between the smallest range and the largest sum


def calibrated(layer: Layer, x: NDArray[np.int32], scope: str = "slice") -> Layer:
    """The layer with converters whose steps lose least on `x`.

    Parameters
    ----------
    layer : Layer
        Its converters' bits stay.
    x : array of int32, shape (vectors, inputs)
    scope : str
        What shares a step: all bitlines of a ``slice``, or none (``column``).

    Raises
    ------
    DovetailError
        An unknown scope, or a layer that is arranged.
    """
    if scope not in SCOPES:
        raise DovetailError(f"no step per '{scope}'", where="calibration", hint=did_you_mean(scope, list(SCOPES)))
    if layer.arrangement is not None:
        why = "each of its bitlines has the converter that loses nothing"
        raise DovetailError("an arranged layer is not calibrated", where="calibration", why=why, hint="either of both")
    found = list(histograms(layer, x))
    step = np.ones(layer.converters.step.shape)
    for slice_ in range(layer.digits.shape[1]):
        group = [each for each in found if each.place[1] == slice_]
        if scope == "slice":
            joined = _joined(group)
            bits = int(layer.converters.bits[:, slice_].max())
            step[:, slice_] = best_steps(joined, bits, layer.setup.cells.signed).item()
        else:
            for each in group:
                bits = layer.converters.bits[each.place]
                step[each.place] = best_steps(each, int(bits.max()), layer.setup.cells.signed)
    low, high = code_range(layer.converters.bits, layer.setup.cells.signed)
    return layer.with_converters(Converters(step, low, high, layer.converters.bits))


def best_steps(histogram: Histogram, bits: int, signed: bool) -> NDArray[np.float64]:
    """For each bitline the step with the least squared error; no finer than one level of a cell."""
    error = np.stack([conversion_errors(histogram, bits, signed, step) for step in candidates(histogram, bits, signed)])
    best: NDArray[np.float64] = candidates(histogram, bits, signed)[error.argmin(axis=0)]
    return best


def candidates(histogram: Histogram, bits: int, signed: bool) -> NDArray[np.float64]:
    """Steps to try: from a level of a cell to what spans the largest sum."""
    codes = max(1, (1 << bits - signed) - 1)
    widest = max(1.0, max(-histogram.lowest, histogram.sums[-1]) / codes)
    return np.unique(np.geomspace(1.0, widest, _RANGES))


def conversion_errors(histogram: Histogram, bits: int, signed: bool, step: float) -> NDArray[np.float64]:
    """Sum of squared errors of each bitline's conversions."""
    low, high = code_range(np.array(bits), signed)
    seen = np.clip(np.floor(histogram.sums / step + 0.5), low, high) * step
    error: NDArray[np.float64] = histogram.counts @ (seen - histogram.sums) ** 2
    return error


def _joined(group: list[Histogram]) -> Histogram:
    """All bitlines of several as one."""
    lowest, highest = min(each.lowest for each in group), max(int(each.sums[-1]) for each in group)
    counts = np.zeros((1, highest - lowest + 1), np.int64)
    for each in group:
        first = each.lowest - lowest
        counts[0, first : first + each.counts.shape[1]] += each.counts.sum(axis=0)
    return replace(group[0], counts=counts, lowest=lowest)
