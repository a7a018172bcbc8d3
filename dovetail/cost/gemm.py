"""Time of one matrix product on a chip of many cores, from its tiles and a few measured constants.

    step    = arithmetic of a tile over 128 bytes of inputs, or the loads of its operands, or their latency
    tile    = steps + epilogue, which writes the result
    compute = tiles shared over the cores; fewer tiles than cores: inputs split, partial sums combined
    memory  = operands and results once, at `memory` of the bandwidth, or from the cache where they stay
    time    = launch + (compute^p + memory^p)^(1/p), on a host that is fast enough

The tile is the one that is done first, as a library's heuristic aims for. Tiles of products and their waves over the
cores: NVIDIA, "Matrix Multiplication Background User's Guide", 2023; split inputs: Osama et al., Stream-K, PPoPP 2023.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.hardware.kernels import ChipFacts, GemmConstants

STEP_BYTES = 128  # along the inputs: one line of the cache, 64 elements in bf16
TILES = ((64, 32), (64, 64), (128, 64), (128, 128), (128, 256))  # rows and columns of results
GRANULE = 64  # rows that are computed at once, filled or not
SPLITS = 32  # most parts of the inputs
PIECE = 2048  # elements of a row that a quantising kernel takes at once


@dataclass(frozen=True, slots=True)
class GemmCost:
    """Seconds of a call by cause, and the bytes that main memory moves."""

    compute_s: Number
    memory_s: Number
    launch_s: Number
    time_s: Number
    bytes: Number


@dataclass(frozen=True, slots=True)
class Widths:
    """Bytes of an element: of activations, of weights as stored (scales in proportion), and of results."""

    activation: Number = 2.0
    weight: Number = 2.0
    result: Number = 2.0


def gemm_cost(
    m: Number, n: Number, k: Number, chip: ChipFacts, constants: GemmConstants, widths: Widths = Widths(),
    *, alone: bool = False,
) -> GemmCost:  # fmt: skip
    """Time of ``y[m, n] = x[m, k] w[n, k]^T``; arrays of points broadcast.

    Parameters
    ----------
    m, n, k : Number
        Rows of activations, outputs, inputs.
    chip : ChipFacts
        With the peak of the dtype that is multiplied.
    alone : bool
        One call is repeated, as benchmarks do: operands that fit stay in the cache, the host may be the slower, and a
        kernel of its own quantises the activations, which engines do in the operator before.

    Notes
    -----
    Never faster with more rows, outputs or inputs, and never faster than the peaks allow unless resident.
    """
    c = constants
    moved = widths.activation * m * k + widths.weight * n * k + widths.result * m * n
    memory_s, read = _memory_s(moved, chip, c, alone)
    compute_s = _compute_s(m, n, k, chip, c, widths)
    longer_s = np.maximum(compute_s, memory_s)
    busy_s = longer_s * (1.0 + (np.minimum(compute_s, memory_s) / longer_s) ** c.overlap) ** (1.0 / c.overlap)
    quantise_s = m * (c.row_s + c.piece_s * np.ceil(k / PIECE)) if np.any(c.row_s) or np.any(c.piece_s) else 0.0
    time_s = c.launch_s + busy_s
    time_s = np.maximum(time_s + c.call_s + quantise_s, c.host_s) if alone else time_s
    return GemmCost(compute_s, memory_s, time_s - busy_s, time_s, read)


def _memory_s(moved: Number, chip: ChipFacts, c: GemmConstants, alone: bool) -> tuple[Number, Number]:
    """Seconds to move the operands, and bytes that leave main memory: those that stay come from the cache."""
    main = chip.bandwidth * c.memory
    if not alone or not np.any(chip.cache):
        return moved / main, moved
    kept = np.clip(2.0 - moved / np.maximum(c.resident * chip.cache, 1e-9), 0.0, 1.0) * moved
    return (moved - kept) / main + kept / np.maximum(chip.cache_bandwidth, main), moved - kept


def _compute_s(m: Number, n: Number, k: Number, chip: ChipFacts, c: GemmConstants, widths: Widths) -> Number:
    """Seconds of the cores with the best tile."""
    depth = STEP_BYTES / widths.activation
    steps = np.ceil(k / depth)
    flop_s = chip.cores / (chip.peak * c.compute)
    load_s = depth * chip.cores / (chip.peak * c.load)
    write_s = c.epilogue * widths.result * chip.cores / chip.bandwidth
    filled = np.ceil(m / GRANULE) * GRANULE
    best: Number = np.inf
    for most, columns in TILES:
        rows = np.minimum(most, filled)
        loads_s = (rows + columns) * (widths.activation * load_s)
        step_s = np.maximum(np.maximum(rows * (2.0 * depth * columns * flop_s), loads_s), c.step_s)
        end_s = rows * (columns * write_s)
        waves = _pieces(m / most, c.smooth) * (_pieces(n / columns, c.smooth) / chip.cores)
        found = _pieces(waves, c.smooth) * (steps * step_s + end_s)
        if np.any(waves < 1.0):  # cores are left over: the inputs are split
            parts = np.clip(1.0 / waves, 1.0, np.minimum(SPLITS, steps))
            split = np.ceil(steps / parts) * step_s + end_s + c.split_s
            found = np.where(parts > 1.0, np.minimum(found, split), found)
        best = np.minimum(best, found)
    return best


def _pieces(exact: Number, smooth: Number) -> Number:
    """How many pieces `exact` of them take: whole ones, or as it is where the last is cut to size; at least one."""
    if np.all(np.asarray(smooth) == 1.0):
        return np.maximum(exact, 1.0)
    return np.maximum(smooth * exact + (1.0 - smooth) * np.ceil(exact), 1.0)
