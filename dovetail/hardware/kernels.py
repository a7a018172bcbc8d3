"""What kernels cost beyond a roofline: how they cut a call into tiles, and the few measured constants of a chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dovetail.core.content import ByContent
from dovetail.core.formats import Number
from dovetail.hardware.machine import Machine, MemoryLevel

# Medians of the zoo's GPUs, which are 256 to 8192 FLOP per clock and 1.3 to 2.6 GHz.
TYPICAL_FLOPS_PER_CLOCK = 2048  # dense 16-bit products of one core
TYPICAL_CLOCK_HZ = 1.8e9


@dataclass(frozen=True, slots=True, eq=False)
class ChipFacts(ByContent):
    """The datasheet numbers that a kernel's time rests on.

    Parameters
    ----------
    peak : Number
        Dense FLOP/s of the matrix units for the dtype that is multiplied.
    bandwidth : Number
        Bytes/s of main memory.
    cache, cache_bandwidth : Number
        Bytes and bytes/s of the last-level cache.
    cores : Number
        Streaming multiprocessors, compute units: what runs one tile at a time.
    clock : Number
        Hz of the cores, boosted.
    """

    peak: Number
    bandwidth: Number
    cache: Number
    cache_bandwidth: Number
    cores: Number
    clock: Number


def chip_facts(machine: Machine, dtype: str) -> ChipFacts:
    """What a kernel's time rests on, of one chip of `machine` for products of `dtype`.

    A machine without caches has one of no bytes at the bandwidth of its main memory. What its file leaves out is
    derived: the clock is `TYPICAL_CLOCK_HZ`, and the cores are as many as make the 16-bit peak (that of `dtype` where
    there is none) of `TYPICAL_FLOPS_PER_CLOCK` each, at least one. Cores of GPUs are up to eight times weaker and four
    times stronger than that, so the split into cores is only a guess then.

    Raises
    ------
    DovetailError
        The machine has no arithmetic of that dtype.
    """
    peak, memory = machine.peak_of(dtype), machine.memory
    cache = machine.caches[0] if machine.caches else MemoryLevel("none", 0.0, memory.bandwidth)
    clock = np.where(np.isnan(machine.clock_hz), TYPICAL_CLOCK_HZ, machine.clock_hz)[()]
    sixteen = machine.peak.get("bf16", machine.peak.get("fp16", peak))
    cores = machine.cores or np.maximum(1.0, np.round(sixteen / (TYPICAL_FLOPS_PER_CLOCK * clock)))
    return ChipFacts(peak, memory.bandwidth, cache.capacity, cache.bandwidth, cores, clock)


@dataclass(frozen=True, slots=True)
class AttentionKernel:
    """How an attention kernel cuts a call into tiles: facts of its source code, not fitted.

    A tile is some query rows of one KV head and the blocks of keys that they see; a core works on one tile at a time.

    Parameters
    ----------
    rows, narrow_rows : int
        Query rows of a tile; `narrow_rows` at a head dim of 64 or less. Where heads are folded, a row is a token of
        one of the heads that share a KV head.
    granule : int
        Rows are computed in multiples of this, filled or not.
    keys : int
        Keys of a block at a head dim of 128 or less; wider heads have fewer (a block keeps its bytes), at least 64.
    folds_prefill : bool
        Heads that share keys are folded into one tile for many tokens too; for one token they always are.
    splits : int
        Most parts that the keys of a tile are split into to fill the cores; the parts are combined by a second pass.
    splits_prefill, splits_single_heads : bool
        Whether calls of many tokens, and calls whose heads share no keys, are split.
    longest_last : bool
        Tiles are started in the order of their tokens, so the longest of a causal call starts last; otherwise first.
    sequences : int
        Sequences of a batch that the scheduler orders one by one; larger batches take it no longer.
    combine_passes, fold_passes, regroup_passes : float
        Further kernels that a call starts: to combine splits, to fold heads (one token), and to bring the heads of
        several KV heads and several sequences into order for it.
    """

    rows: int
    narrow_rows: int
    granule: int
    keys: int
    folds_prefill: bool
    splits: int
    splits_prefill: bool
    splits_single_heads: bool
    longest_last: bool
    sequences: int
    combine_passes: float
    fold_passes: float = 0.0
    regroup_passes: float = 0.0


# Dao, "FlashAttention-2", ICLR 2024, as engines run it over paged caches: its split-KV kernel, 64 x 128 tiles.
FLASH_2 = AttentionKernel(
    rows=64, narrow_rows=64, granule=64, keys=128, folds_prefill=False, splits=128, splits_prefill=False,
    splits_single_heads=False, longest_last=True, sequences=0, combine_passes=2, fold_passes=0.5, regroup_passes=2,
)  # fmt: skip
# Shah et al., "FlashAttention-3", NeurIPS 2024: two or three warp groups of 64 rows, heads folded, longest tiles first.
FLASH_3 = AttentionKernel(
    rows=128, narrow_rows=192, granule=64, keys=128, folds_prefill=True, splits=32, splits_prefill=True,
    splits_single_heads=True, longest_last=False, sequences=512, combine_passes=1,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class AttentionConstants(ByContent):
    """What is measured once for a chip, a dtype and a stack's attention kernel.

    Parameters
    ----------
    launch_s : Number
        Seconds from one call to the next beyond the kernel's own work (1e-6 to 1e-5).
    pass_s : Number
        Seconds of each further kernel that a call starts (5e-7 to 1e-5).
    tile_s : Number
        Seconds that a tile takes beyond its blocks: scheduling, first loads, the last store (3e-7 to 6e-6).
    pipeline_s : Number
        Seconds to fill the pipeline of loads and products, in tiles of more than one block (0 to 3e-6).
    sequence_s : Number
        Seconds that the scheduler spends on each sequence of a batch (0 to 3e-8).
    compute : Number
        Share of a core's matrix peak that the products of a block reach (0.3 to 1).
    score_clocks : Number
        Core clocks for the softmax of one score that products do not hide (0 to 1/8; an exponential takes 1/16 in
        the special-function units of NVIDIA's cores).
    core_bandwidth : Number
        Bytes/s that one core draws from main memory by itself: what it has in flight over the latency (1e10 to 2e11).
    memory : Number
        Share of the main memory's bandwidth that streaming reaches (0.5 to 1).
    resident : Number
        Share of the cache that keeps keys and values from one call to the next (0 to 1).
    append : Number
        Share of the main memory's bandwidth that scattered writes into a paged cache reach (0.1 to 1).
    append_token_s : Number
        Seconds to place one token's keys and values (0 to 5e-9).
    """

    launch_s: Number
    pass_s: Number
    tile_s: Number
    pipeline_s: Number
    sequence_s: Number
    compute: Number
    score_clocks: Number
    core_bandwidth: Number
    memory: Number
    resident: Number
    append: Number
    append_token_s: Number


@dataclass(frozen=True, slots=True, eq=False)
class EnergyConstants(ByContent):
    """Board power while kernels run: a floor, what each FLOP and each byte of main memory adds, and the limit.

    Parameters
    ----------
    active_w : Number
        Watts of a board that runs kernels which do nothing: above the idle board's, clocks are up.
    j_per_flop, j_per_byte : Number
        Dynamic energy of one FLOP of the dtype, and of one byte of main memory.
    limit_w : Number
        Watts that sustained work settles at.
    """

    active_w: Number
    j_per_flop: Number
    j_per_byte: Number
    limit_w: Number


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


@dataclass(frozen=True, slots=True, eq=False)
class LatentConstants(ByContent):
    """Multi-head latent attention: expanded in prefill, absorbed in decode (`cost.latent`).

    Parameters
    ----------
    compute : float
        Share of the peak that full tiles of attention reach, softmax included, 0.3 to 1.
    project : float
        Share of the peak of the products that expand latents or absorb queries, 0.3 to 1.
    memory : float
        Share of the bandwidth at which the cache is read, 0.2 to 1.
    pointwise : float
        Share of the bandwidth at which copies, concatenations and paddings move, 0.1 to 1.
    overlap : float
        How much of the shorter of compute and memory hides behind the longer, 0 to 1.
    tile_s : float
        What one tile of queries costs a core beyond its arithmetic, 0.1 to 10 us.
    tail : float
        Share of the longest tile for which the other cores wait at the end, 0 to 1.
    store_s : float
        What storing one new token in the cache costs a core, 0.05 to 5 us: a block of threads for each.
    short_bytes : float
        Bytes per query and head that short prefills move in addition, 0 to 10,000. Up to `short_tokens` new tokens a
        sequence, FlashAttention 3 on Hopper takes about twice as long per token as beyond; measured, the cause is not
        documented.
    kernels_s : float
        Time of the gaps between the call's kernels, 1 to 200 us.
    prefill_floor_s, decode_floor_s : float
        Time the host takes to launch the call, in which a short one hides entirely, 10 to 500 us.
    short_tokens : int
        See `short_bytes`; 0 for a kernel without.
    head_block : int
        Heads that share one read of the cache: all of a chip's with FlashAttention, 16 in vLLM's Triton kernel.
    head_rows : int
        Heads are padded to a multiple of these rows of a tile in decode.
    splits : int
        Parts of a sequence that different cores attend to in decode; 0 for as many as there are free cores.
    padded_values : bool
        Values are padded to the width of the keys in prefill (FlashAttention 2).
    """

    compute: Number = 0.75
    project: Number = 0.6
    memory: Number = 0.9
    pointwise: Number = 0.5
    overlap: Number = 0.9
    tile_s: Number = 1e-6
    tail: Number = 0.5
    store_s: Number = 0.6e-6
    short_bytes: Number = 3000.0
    kernels_s: Number = 50e-6
    prefill_floor_s: Number = 160e-6
    decode_floor_s: Number = 160e-6
    short_tokens: int = 0
    head_block: int = 128
    head_rows: int = 64
    splits: int = 0
    padded_values: bool = False
