"""The engine in torch: the same numbers on any device that torch has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dovetail.core.lazy import require
from dovetail.crossbar import analog
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.folded import lossless

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class _Lines:
    """Bitlines of one plane, slice and tile: their cells (inputs, lines), what they convert with, and where they go."""

    rows: slice
    cells: Tensor
    step: Tensor
    low: Tensor
    high: Tensor
    worth: Tensor
    output: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class TorchEngine:
    """A layer on a device.

    Folds are float64 products, exact for any layer that is; sums of bits are float32, which holds every sum of an array
    of at most 4,096 rows of 4-bit cells exactly, with reduced mantissas of tensor cores (TF32) too: digits have 4 bits.
    """

    engine: Engine
    device: str
    folded: Tensor
    lines: tuple[_Lines, ...]

    @classmethod
    def of(cls, engine: Engine, device: str = "cpu") -> TorchEngine:
        """Put a prepared layer on a device."""
        torch, layer = require("torch", "torch", to="simulate on a device"), engine.layer
        outputs, inputs = layer.codes.shape
        whole = np.zeros((inputs, outputs))
        for each in engine.folds:
            whole[each.inputs] += each.matrix * each.scale
        real = analog.needed(layer)
        where = layer.statistics.highest > layer.statistics.lowest if real else ~lossless(layer)
        lines = tuple(_lines(engine, torch, device, tile, place, where) for tile in range(len(layer.tiles))
                      for place in np.ndindex(*layer.digits.shape[:2]) if where[(*place, tile)].any())  # fmt: skip
        return cls(engine, device, torch.from_numpy(whole).to(device), lines)

    def multiply(self, x: Tensor, seed: int = 0) -> Tensor:
        """Weights times inputs, as `Engine.multiply`: integers (vectors, inputs) to float64 (vectors, outputs)."""
        torch, layer = require("torch", "torch"), self.engine.layer
        x = x.to(self.device)
        if layer.arrangement is not None:
            x = x[:, torch.from_numpy(layer.arrangement.order).to(self.device)]
        out = x.double() @ self.folded
        if not self.lines:
            return out
        wanted, setup = layer.setup.inputs, layer.setup
        noise = torch.Generator(self.device).manual_seed(seed * 1_000_003 + setup.seed)
        sigma = setup.device.read_sigma * (2**0.5 if setup.cells.signed else 1.0)
        cycles = torch.arange(wanted.bits, device=self.device)[:, None, None]
        places = torch.from_numpy(wanted.place_values).to(self.device, torch.float64)
        on = (x.long()[None] >> cycles & 1).float()
        for each in self.lines:
            driven = on[:, :, each.rows]
            sums, count = driven @ each.cells, driven.sum(dim=2, keepdim=True)
            if sigma:
                sums = sums + sigma * count.sqrt() * torch.randn(sums.shape, generator=noise, device=self.device)
            seen = _converted(torch, sums, each).double() - layer.offset * count
            out[:, each.output] += torch.tensordot(places, seen, dims=1) * each.worth
        return out


def _lines(engine: Engine, torch: Any, device: str, tile: int, place: tuple[int, ...], where: Any) -> _Lines:
    layer = engine.layer
    chosen = np.flatnonzero(where[(*place, tile)])
    cells = layer.digits if layer.conductance is None else layer.conductance
    found = layer.converters.at(place[0], place[1], tile)

    def put(values: Any, dtype: Any) -> Tensor:
        tensor: Tensor = torch.from_numpy(np.ascontiguousarray(values)).to(device, dtype)
        return tensor

    rows = layer.tiles[tile]
    return _Lines(
        rows, put(cells[place][chosen, rows].T, torch.float32), put(found.step[chosen], torch.float32),
        put(found.low[chosen], torch.float32), put(found.high[chosen], torch.float32),
        put(layer.worth[place] * layer.scales[tile, chosen], torch.float64), put(chosen, torch.int64),
    )  # fmt: skip


def _converted(torch: Any, sums: Tensor, each: _Lines) -> Tensor:
    step = torch.where(each.step > 0, each.step, 1.0)
    codes = torch.floor(sums / step + 0.5)
    cut: Tensor = torch.where(each.step > 0, torch.minimum(torch.maximum(codes, each.low), each.high) * step, sums)
    return cut
