"""Time of multi-head latent attention (arXiv 2405.04434) on a GPU-like chip, from latents and queries to head outputs.

Prefill expands the latents to keys and values of every head, and attends over tiles of queries:

    time = expand + copies + tiles of attention on the cores, the longest of which ends last

Decode absorbs the expansion into the queries and the outputs, and attends over the cached latents, the same for all
heads, hence one read of the cache for each block of heads:

    time = absorb + copies + max(compute, memory) + (1 - overlap) * min(compute, memory)

Kernels run while the host launches the next: no call is shorter than the launch of all its kernels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.kernel import KernelTime
from dovetail.hardware.kernels import ChipFacts, LatentConstants

_QUERY_TILE = 128  # queries a core attends with at once, and keys it meets at once
_SIZE = 2.0  # bytes of an activation
_PARTIAL = 4.0  # bytes of a result of part of a sequence


@dataclass(frozen=True, slots=True)
class Latent:
    """Shape of one chip's latent attention; arrays of design points broadcast.

    Parameters
    ----------
    heads : Number
        Query heads on this chip.
    rank, rope, nope, values : Number
        Channels of the latent, of the key with and without positions, of a value.
    cache_bytes : Number
        Bytes of one cached element.
    """

    heads: Number
    rank: Number = 512
    rope: Number = 64
    nope: Number = 128
    values: Number = 128
    cache_bytes: Number = 2.0

    @property
    def expansion(self) -> Number:
        """Weights that turn a latent into keys and values of all heads."""
        return self.rank * self.heads * (self.nope + self.values)


def prefill_time(
    batch: Number, tokens: Number, shape: Latent, chip: ChipFacts, constants: LatentConstants, context: Number = 0
) -> KernelTime:
    """One call for `tokens` new tokens of each of `batch` sequences that hold `context` already; causal."""
    plain = _prefill(batch, tokens, context, shape, chip, constants, 0.0)
    if not constants.short_tokens:
        return plain
    few = np.minimum(tokens, constants.short_tokens)
    short = _prefill(batch, few, context, shape, chip, constants, constants.short_bytes)
    longer = (np.asarray(tokens) <= constants.short_tokens) | (np.asarray(short.time_s) > plain.time_s)
    return KernelTime(*(np.where(longer, getattr(short, f), getattr(plain, f)) for f in KernelTime.__slots__))


def _prefill(
    batch: Number, tokens: Number, context: Number, shape: Latent, chip: ChipFacts, c: LatentConstants, extra: Number
) -> KernelTime:
    new, keys = batch * tokens, batch * (tokens + context)
    width, wide = shape.nope + shape.rope, shape.nope + shape.values
    values = width if c.padded_values else shape.values
    copied = keys * shape.heads * (shape.nope + width) + new * shape.heads * (shape.rope + extra / _SIZE)
    if c.padded_values:
        copied = copied + keys * shape.heads * (shape.values + width) + new * shape.heads * (shape.values + width)
    expanded = keys * (shape.rank + shape.heads * wide)
    attended = shape.heads * (new * (width + values) + keys * (width + values))
    expand = 2.0 * keys * shape.expansion / (chip.peak * c.project)
    compute = expand + _attention_s(batch, tokens, context, shape.heads, width + values, chip, c)
    copies = copied * _SIZE / (chip.bandwidth * c.pointwise) + new / chip.cores * c.store_s
    expand_memory = (expanded + shape.expansion) * _SIZE / (chip.bandwidth * c.pointwise)
    attend_memory = attended * _SIZE / (chip.bandwidth * c.memory)
    busy = np.maximum(expand, expand_memory) + np.maximum(compute - expand, attend_memory) + copies
    moved = (copied + expanded + attended + shape.expansion) * _SIZE
    return _call(busy, compute, copies + expand_memory + attend_memory, moved, c.kernels_s, c.prefill_floor_s)


def _attention_s(
    batch: Number, tokens: Number, context: Number, heads: Number, channels: Number, chip: ChipFacts, c: LatentConstants
) -> Number:
    """Tiles of queries, each over all keys before its end, dealt to the cores."""
    tiles = np.ceil(tokens / _QUERY_TILE)
    keys = tiles * context + _QUERY_TILE * tiles * (tiles + 1) / 2.0
    pairs = 2.0 * channels * _QUERY_TILE  # FLOPs of one tile per key
    longest = pairs * (context + tiles * _QUERY_TILE)
    rate = chip.peak * c.compute
    started = batch * heads * tiles / chip.cores * c.tile_s
    return batch * heads * pairs * keys / rate + started + c.tail * longest * chip.cores / rate


def decode_time(
    batch: Number, length: Number, shape: Latent, chip: ChipFacts, constants: LatentConstants
) -> KernelTime:
    """One call for one new token of each of `batch` sequences, which sees `length` cached tokens."""
    c, rows = constants, batch * shape.heads
    absorb = 2.0 * batch * shape.expansion / (chip.peak * c.project)
    weights = shape.expansion * _SIZE / (chip.bandwidth * c.memory)
    # A query is read, absorbed, written and read again with its positions; its result goes the same way back
    copied = rows * (shape.nope + 2 * shape.rank + shape.rope + 2 * shape.rank + shape.values)
    copied = copied + rows * shape.rank * (2 * c.splits * _PARTIAL / _SIZE)  # of each part, written and read
    copies = copied * _SIZE / (chip.bandwidth * c.pointwise) + batch / chip.cores * c.store_s
    blocks = np.ceil(shape.heads / c.head_block)
    cached = batch * length * (shape.rank + shape.rope) * shape.cache_bytes
    fill = np.minimum(batch * blocks * c.splits / chip.cores, 1.0) if c.splits else 1.0
    padded = np.ceil(shape.heads / c.head_rows) * c.head_rows
    compute = 2.0 * batch * padded * length * (2 * shape.rank + shape.rope) / (chip.peak * c.compute * fill)
    memory = cached * blocks / (chip.bandwidth * c.memory * fill)
    attend = np.maximum(compute, memory) + (1.0 - c.overlap) * np.minimum(compute, memory)
    busy = np.maximum(absorb, weights) + copies + attend
    moved = cached + (copied + shape.expansion) * _SIZE
    return _call(busy, absorb + compute, weights + copies + memory, moved, c.kernels_s, c.decode_floor_s)


def project_time(
    rows: Number, hidden: Number, q_rank: Number, shape: Latent, chip: ChipFacts, constants: LatentConstants
) -> KernelTime:
    """The products around latent attention, for `rows` tokens, their launches left out.

    From the stream to the latents of queries and keys, from there to the heads' queries, and from the heads' outputs
    back to the stream; norms and rotary pass once over what they change. With a prefill or decode this is DeepSeek's
    whole attention module.
    """
    latent, query = q_rank + shape.rank + shape.rope, shape.heads * (shape.nope + shape.rope)
    products = ((latent, hidden), (query, q_rank), (hidden, shape.heads * shape.values))
    passes = rows * (latent + q_rank + query) * (2 * _SIZE)
    copies = passes / (chip.bandwidth * constants.pointwise)
    found = KernelTime(copies, 0.0, copies, 0.0, passes)
    for outputs, inputs in products:
        moved = (outputs * inputs + rows * (outputs + inputs)) * _SIZE
        compute = 2.0 * rows * outputs * inputs / (chip.peak * constants.project)
        memory = moved / (chip.bandwidth * constants.memory)
        found = found + KernelTime(np.maximum(compute, memory), compute, memory, 0.0, moved)
    return found


def _call(busy: Number, compute: Number, memory: Number, moved: Number, gaps_s: Number, floor_s: Number) -> KernelTime:
    """A call on the device, or hidden in its own launch; what the kernels do not fill counts as launch."""
    time = np.maximum(busy + gaps_s, floor_s)
    return KernelTime(time, compute, memory, time - busy, moved)
