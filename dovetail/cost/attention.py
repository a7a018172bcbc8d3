"""Time and energy of one attention call on a chip of many cores, from its tiles and a few measured constants.

    block   = products at `compute` of a core's peak + softmax, or the loads of its keys and values where slower
    compute = makespan of the tiles on the cores; split along the keys and combined where that is sooner
    memory  = queries, results, keys and values once, at `memory` of the bandwidth, or from the cache where they stay
    time    = launch + sqrt(compute^2 + memory^2) + sequences + appending the new keys and values

Compute and memory overlap, but never fully: their quadrature lies between the roofline's maximum and a sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.tiles import Tiles, makespan, tiles
from dovetail.hardware.kernels import AttentionConstants, AttentionKernel, ChipFacts, EnergyConstants
from dovetail.model.operators import Attention

LOAD_BYTES_PER_CLOCK = 64.0  # of a core from the last-level cache; NVIDIA A100 architecture whitepaper, 2020
RESULT_BYTES = 2.0  # results are bf16, whatever is multiplied
PARTIAL_BYTES = 8.0  # a split's result is fp32, written and read


@dataclass(frozen=True, slots=True)
class AttentionCost:
    """Seconds of a call by cause, its FLOPs as executed (padding included), and bytes.

    `read` is what attention itself moves, each byte once; `bytes` what of it, and of the appended keys and values,
    main memory moves.
    """

    compute_s: Number
    memory_s: Number
    launch_s: Number
    append_s: Number
    time_s: Number
    flops: Number
    read: Number
    bytes: Number


@dataclass(frozen=True, slots=True)
class Bytes:
    """What a call moves: keys and values, queries and results, and keys and values that it appends to the cache."""

    cached: Number
    activations: Number
    appended: Number


def moved(attention: Attention, q_bytes: Number, kv_bytes: Number) -> Bytes:
    """Bytes of a call with `q_bytes` and `kv_bytes` an element. Keys are read once for all queries of a KV head."""
    span = attention.span
    if attention.selected is not None:
        span = np.minimum(span, attention.tokens * np.minimum(attention.selected, attention.kv_len))
    per_key = attention.batch * attention.kv_heads * attention.cached_channels
    queries = attention.batch * attention.heads * attention.tokens
    return Bytes(
        cached=per_key * span * kv_bytes,
        activations=queries * (attention.head_dim * q_bytes + attention.values * RESULT_BYTES),
        appended=per_key * attention.tokens * (RESULT_BYTES + kv_bytes),
    )


def attention_cost(
    attention: Attention,
    chip: ChipFacts,
    kernel: AttentionKernel,
    constants: AttentionConstants,
    *,
    q_bytes: Number = 2.0,
    kv_bytes: Number = 2.0,
    appends: bool = False,
    stays: bool = False,
) -> AttentionCost:
    """Time of one layer's attention call.

    Parameters
    ----------
    attention : Attention
        Shapes; arrays of points broadcast.
    chip : ChipFacts
        With the peak of the dtype that is multiplied.
    q_bytes, kv_bytes : Number
        Bytes of an element of queries and of the cache.
    appends : bool
        The call also writes the keys and values of its tokens into the cache, by a kernel of its own.
    stays : bool
        Keys and values that fit may be in the cache already, as when a benchmark repeats a call.

    Notes
    -----
    Never faster with more sequences, more heads of the same group, a longer cache, or more tokens behind the same
    cache, and never faster than the peaks allow unless resident. Two real exceptions are kept: a call of one token a
    sequence is another path than a call of several (`fold_passes`), and FlashAttention 2 splits only shared heads.
    """
    parts, c, data = tiles(attention, kernel), constants, moved(attention, q_bytes, kv_bytes)
    hit = np.clip(2.0 - data.cached / np.maximum(c.resident * chip.cache, 1.0), 0.0, 1.0) if stays else 0.0
    memory_s = _memory_s(data, hit, chip, c)
    tile = _tile(attention, parts, chip, kernel, c, (q_bytes, kv_bytes, hit))
    compute_s = makespan(parts, tile.fixed_s, tile.block_s, chip.cores, kernel.longest_last)
    busy_s = _quadrature(compute_s, memory_s)
    ways = _splits(attention, parts, chip, kernel)
    if np.any(ways > 1):
        split_s, combine_s = _split(attention, parts, tile, ways, chip, kernel, c)
        busy_s = np.minimum(busy_s, _quadrature(split_s, memory_s + combine_s) + kernel.combine_passes * c.pass_s)
        compute_s = np.minimum(compute_s, split_s)
    launch_s = c.launch_s + c.pass_s * (_passes(attention, kernel) + appends)
    launch_s = launch_s + c.sequence_s * np.minimum(attention.batch, kernel.sequences)
    append_s = _append_s(attention, data, chip, c) if appends else 0.0
    return AttentionCost(
        compute_s, memory_s, launch_s, append_s, launch_s + busy_s + append_s,
        parts.count * parts.mean * tile.flops, data.cached + data.activations,
        data.cached * (1 - hit) + data.activations + (data.appended if appends else 0.0),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Tile:
    """Seconds of a tile beyond its blocks, seconds of a block, and FLOPs of a block, padding included."""

    fixed_s: Number
    block_s: Number
    flops: Number


def _tile(
    attention: Attention, parts: Tiles, chip: ChipFacts, kernel: AttentionKernel, c: AttentionConstants,
    storage: tuple[Number, Number, Number],
) -> _Tile:  # fmt: skip
    """One tile on one core; `storage` is bytes of a query's element, of a cached one, and the resident share."""
    q_bytes, kv_bytes, hit = storage
    computed = np.minimum(np.ceil(parts.filled / kernel.granule) * kernel.granule, parts.rows)
    flops = 2.0 * computed * parts.keys * (attention.head_dim + attention.values)
    products_s = flops * chip.cores / (chip.peak * c.compute) + computed * parts.keys * c.score_clocks / chip.clock
    per_byte = (1 - hit) / c.core_bandwidth + hit / np.maximum(LOAD_BYTES_PER_CLOCK * chip.clock, c.core_bandwidth)
    loads_s = parts.keys * attention.cached_channels * kv_bytes * per_byte
    own_bytes = parts.filled * (attention.head_dim * q_bytes + attention.values * RESULT_BYTES)
    pipeline_s = c.pipeline_s * np.clip(parts.longest - 1.0, 0.0, 1.0)
    return _Tile(c.tile_s + own_bytes / c.core_bandwidth + pipeline_s, np.maximum(products_s, loads_s), flops)


def _memory_s(data: Bytes, hit: Number, chip: ChipFacts, c: AttentionConstants) -> Number:
    main = chip.bandwidth * c.memory
    resident_s = data.cached * hit / np.maximum(chip.cache_bandwidth, main)
    return (data.cached * (1 - hit) + data.activations) / main + resident_s


def _splits(attention: Attention, parts: Tiles, chip: ChipFacts, kernel: AttentionKernel) -> Number:
    """Parts of each tile's keys, as many as fill the cores. Fractions stand for tiles that are split unevenly."""
    ways = np.clip(chip.cores / parts.count, 1.0, np.minimum(parts.longest, kernel.splits))
    if kernel.splits_prefill and kernel.splits_single_heads:
        return ways
    allowed = kernel.splits_prefill | (np.asarray(attention.tokens) == 1)
    allowed = allowed & (kernel.splits_single_heads | (attention.heads > attention.kv_heads))
    return np.where(allowed, ways, 1.0)


def _split(
    attention: Attention, parts: Tiles, tile: _Tile, ways: Number, chip: ChipFacts, kernel: AttentionKernel,
    c: AttentionConstants,
) -> tuple[Number, Number]:  # fmt: skip
    """Makespan of the split tiles, and seconds to write and read their partial results through the cache."""
    cut = replace(
        parts, count=np.minimum(parts.count * ways, np.maximum(parts.count, chip.cores)), mean=parts.mean / ways,
        shortest=np.maximum(parts.shortest / ways, 1.0), longest=parts.longest / ways,
    )  # fmt: skip
    partial = cut.count * parts.filled * attention.values * PARTIAL_BYTES
    seconds = makespan(cut, tile.fixed_s, tile.block_s, chip.cores, kernel.longest_last)
    return seconds, partial / np.maximum(chip.cache_bandwidth, chip.bandwidth * c.memory)


def _passes(attention: Attention, kernel: AttentionKernel) -> Number:
    """Kernels started to fold the heads that share keys, for one token a sequence."""
    if not (kernel.fold_passes or kernel.regroup_passes):
        return 0.0
    shared = (np.asarray(attention.tokens) == 1) & (attention.heads > attention.kv_heads)
    several = shared & (np.asarray(attention.batch) > 1) & (attention.kv_heads > 1)
    return kernel.fold_passes * shared + kernel.regroup_passes * several


def _append_s(attention: Attention, data: Bytes, chip: ChipFacts, c: AttentionConstants) -> Number:
    written_s = data.appended / (chip.bandwidth * c.append)
    return written_s + attention.batch * attention.tokens * c.append_token_s


def energy_j(time_s: Number, flops: Number, bytes_: Number, constants: EnergyConstants) -> Number:
    """Joules of a call: an active board's floor, its FLOPs and bytes, no more than the limit sustains."""
    dynamic = flops * constants.j_per_flop + bytes_ * constants.j_per_byte
    return np.minimum(constants.active_w * time_s + dynamic, constants.limit_w * time_s)


def _quadrature(a: Number, b: Number) -> Number:
    return np.sqrt(a * a + b * b)  # several times faster than np.hypot, whose guard against overflow is not needed
