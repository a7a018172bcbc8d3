"""A learned correction of a product's time, on top of the analytic model and apart from it: off where nobody measured.

    time = analytic time * exp(correction),   |correction| <= 0.3

The correction is trilinear between knots over the logarithms of rows, of 128 x 128 tiles per core, and of inputs, the
three that decide which kernel a library picks. One octave beyond the measured range it has faded to nothing.

It knows nothing of physics: with it, more work may be a little faster. Where that must not be, leave it out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.core.content import ByContent
from dovetail.core.formats import Number

MOST = 0.3  # of |log time|
TILE = 128

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Residual(ByContent):
    """Knots of the correction, evenly spaced in octaves.

    Parameters
    ----------
    low, high : tuple of three floats
        log2 of the measured range of rows, of tiles per core and of inputs.
    values : Array, shape (a, b, c)
        Corrections of log time at the knots; at least two along every axis.
    """

    low: tuple[float, float, float]
    high: tuple[float, float, float]
    values: Array

    def correction(self, m: Number, n: Number, k: Number, cores: Number) -> Number:
        """What is added to the log of the analytic time; arrays of points broadcast."""
        found: Any = 0.0
        at = places(m, n, k, cores)
        cells = [self._cell(axis, place) for axis, place in enumerate(at)]
        flat, strides = self.values.ravel(), (self.values[0].size, self.values.shape[2], 1)
        first = sum(cell * stride for (cell, _, _), stride in zip(cells, strides, strict=True))
        for a in (0, 1):
            for b in (0, 1):
                for c in (0, 1):
                    corner = first + (a * strides[0] + b * strides[1] + c)
                    found = found + flat[corner] * (cells[0][1 + a] * cells[1][1 + b] * cells[2][1 + c])
        return np.clip(found, -MOST, MOST)

    def _cell(self, axis: int, place: Number) -> tuple[Any, Any, Any]:
        """The knot below a place, and the shares of it and of the one above, less what fades outside the range."""
        low, high, knots = self.low[axis], self.high[axis], self.values.shape[axis]
        inside = np.clip(place, low, high)
        fade = np.maximum(1.0 - np.abs(place - inside), 0.0)
        exact = (inside - low) * ((knots - 1) / (high - low))
        cell = np.minimum(exact, knots - 2).astype(np.intp)
        above = (exact - cell) * fade
        return cell, fade - above, above

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, four digits after the point."""
        return {"low": list(self.low), "high": list(self.high), "values": np.round(self.values, 4).tolist()}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Residual:
        """What `to_json` wrote."""
        low, high = ((float(a), float(b), float(c)) for a, b, c in (found["low"], found["high"]))
        return cls(low, high, np.asarray(found["values"], float))


@cache
def learned(machine: str, model: str) -> Residual | None:
    """What was learned on top of an entry of a chip's kernel constants (``gemm.bf16``); None where nothing was.

    The numbers lie in ``cost/corrections/``, one file a chip, written by ``bench/gemm.py --write``.
    """
    file = resources.files("dovetail.cost") / "corrections" / f"{machine}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return Residual.from_json(found[model]) if model in found else None


def places(m: Number, n: Number, k: Number, cores: Number) -> tuple[Number, Number, Number]:
    """log2 of rows, of tiles per core (at least one tile), and of inputs."""
    tiles = np.maximum(m / TILE, 1.0) * np.maximum(n / TILE, 1.0)
    return np.log2(m), np.log2(tiles / cores), np.log2(k)
