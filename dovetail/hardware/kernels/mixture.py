"""Fused mixtures of experts: their tables of tiles, and what is measured of them once for a chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dovetail.core.content import ByContent
from dovetail.core.formats import Number


@dataclass(frozen=True, slots=True)
class TileStep:
    """One step of a grouped product's tile table: as far as `until`, tiles of `rows` x `columns`.

    `shared` adjacent tiles of rows meet the same weights one after the other, and read them once together.
    """

    until: float
    rows: int
    columns: int
    shared: int = 1


INFINITY = float("inf")

# vLLM's Triton kernel where it has no tuned table: its defaults by tokens (0.24), and by tokens per held expert (0.14)
TOKEN_TILES = (
    TileStep(32, 16, 64),
    TileStep(64, 32, 64),
    TileStep(96, 32, 128),
    TileStep(512, 64, 128),
    TileStep(INFINITY, 128, 128, 4),
)
EXPERT_TILES = (TileStep(1, 16, 32), TileStep(INFINITY, 64, 64, 8))
# By mean rows per expert: Triton kernels of gpt-oss, and Marlin's for packed weights, which fills a tile to 0.9 at most
ROW_TILES = (TileStep(16, 16, 128), TileStep(32, 32, 128), TileStep(64, 64, 128), TileStep(INFINITY, 128, 128, 4))
MARLIN_TILES = (
    TileStep(7.2, 8, 128),
    TileStep(14.4, 16, 128),
    TileStep(28.8, 32, 128),
    TileStep(43.2, 48, 128),
    TileStep(INFINITY, 64, 128),
)


@dataclass(frozen=True, slots=True, eq=False)
class MixtureConstants(ByContent):
    """A fused mixture of experts: route, two grouped products, activation, weighted sum (`cost.mixture`).

    Parameters
    ----------
    compute : float
        Share of the peak that full tiles reach, 0.3 to 1.
    ramp_rows : float
        Rows at which a tile reaches half of that: its fixed cost in the matrix unit, 0 to 300.
    memory : float
        Share of the bandwidth at which weights stream, 0.2 to 1.
    scatter : float
        Share of the bandwidth at which gathered and scattered rows of activations move, 0.2 to 1.
    overlap : float
        How much of the shorter of compute and memory hides behind the longer, 0 to 1.
    regather : float
        Share of the tiles' reads of activations that miss once the step's activations exceed the cache, 0 to 1.
    unaligned : float
        Slowdown of a product whose rows of weights are no multiple of 16 elements and load in pieces, 1 to 10.
    tile_s : float
        What starting and ending one tile costs a core, 10 ns to 10 us.
    empty_tile_s : float
        The same for a tile that only clears rows other chips' experts write, 10 ns to 0.4 us. Used if `whole_step`.
    launch_s : float
        Time of an empty call: all its kernels one after the other, 5 to 60 us.
    remote_s : float
        What knowing of other chips' experts adds, 0.1 to 30 us.
    tiles : tuple of TileStep
        The kernel's tile table.
    tiles_by : {"tokens", "tokens_per_expert", "rows_per_expert"}
        What decides the step: tokens, tokens per expert that the chip holds, or rows per expert of the model.
    whole_step : bool
        Rows of other chips' experts pass through activation and sum as zeros (Triton), or are left out (CUTLASS).
    spread : float
        A measured call lies within a factor 1 + spread of the model in nine cases of ten.
    """

    compute: Number = 0.65
    ramp_rows: Number = 10.0
    memory: Number = 0.95
    scatter: Number = 0.75
    overlap: Number = 0.75
    regather: Number = 0.2
    unaligned: Number = 4.0
    tile_s: Number = 0.4e-6
    empty_tile_s: Number = 0.15e-6
    launch_s: Number = 25e-6
    remote_s: Number = 6e-6
    tiles: tuple[TileStep, ...] = TOKEN_TILES
    tiles_by: Literal["tokens", "tokens_per_expert", "rows_per_expert"] = "tokens"
    whole_step: bool = True
    spread: float = 0.3
