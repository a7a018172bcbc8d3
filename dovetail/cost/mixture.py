"""Time of a mixture of experts on a GPU-like chip: routing, two grouped products, activation and weighted sum, fused.

For each product, over the tiles that the experts' rows fill (`cost.routing`):

    compute = padded FLOPs / (peak * compute * rows / (rows + ramp_rows))
    memory  = weights / (bandwidth * memory) + activations / (bandwidth * scatter)
    time    = max(compute, memory) + (1 - overlap) * min(compute, memory) + tiles / cores * tile_s

An expert's weights are read once for each group of tiles that run together, and only once if they fit the cache. The
token count decides the tiles, as in the kernels. A table of tiles jumps, and measured times with it, sometimes down;
here more tokens never cost less than fewer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dovetail.core.formats import Number
from dovetail.cost.kernel import KernelTime
from dovetail.cost.routing import Loads, Routing, Uniform
from dovetail.hardware.kernels import ChipFacts, MixtureConstants, TileStep

_INNER_TILE = 64  # columns of the inner dimension that a tile multiplies at once
_ALIGNED = 16  # elements: Triton loads rows that are no multiple of it in pieces
_RESULT = 2.0  # bytes of one result: 16-bit floats, whatever the weights are
_RANDOM = Uniform()


@dataclass(frozen=True, slots=True)
class Experts:
    """The experts that tokens choose from; arrays of design points broadcast.

    Parameters
    ----------
    experts, top_k : Number
        All experts, and how many one token meets.
    ways : Number
        Chips that each hold some of the experts whole (expert parallelism).
    weight_bytes, act_bytes : Number
        Bytes of one weight, its scales included, and of one input of a product.
    """

    experts: Number
    top_k: Number
    ways: Number = 1
    weight_bytes: Number = 2.0
    act_bytes: Number = 2.0


@dataclass(frozen=True, slots=True)
class Mixture:
    """Channels of one mixture on one chip; arrays of design points broadcast.

    Parameters
    ----------
    hidden, inner : Number
        Channels of the residual stream, and inside one expert (what this chip holds of it under tensor parallelism).
    gated : bool or Number
        Whether a second input projection gates the first.
    """

    hidden: Number
    inner: Number
    of: Experts
    gated: Number = True

    @property
    def wide(self) -> Number:
        """Outputs of the first product."""
        return (1 + np.asarray(self.gated)) * self.inner


def mixture_time(
    tokens: Number, shape: Mixture, chip: ChipFacts, constants: MixtureConstants, routing: Routing = _RANDOM
) -> KernelTime:
    """One call for `tokens` tokens of the whole group, on the busiest chip: both products and what is around them.

    Parameters
    ----------
    tokens : Number
        At least 1; broadcasts with the shape's and the chip's numbers.
    routing : Routing
        Law of the experts' loads; by default each token picks at random.
    """
    first = product_time(tokens, shape.wide, shape.hidden, shape.of, chip, constants, routing, gathers=True)
    second = product_time(tokens, shape.hidden, shape.inner, shape.of, chip, constants, routing)
    return first + second + around_time(tokens, shape, chip, constants, routing)


def product_time(
    tokens: Number,
    outputs: Number,
    inputs: Number,
    of: Experts,
    chip: ChipFacts,
    constants: MixtureConstants,
    routing: Routing = _RANDOM,
    *,
    gathers: bool = False,
) -> KernelTime:
    """One grouped product alone, its launch left out: ``[rows, inputs] x [experts, outputs, inputs]``.

    Parameters
    ----------
    tokens : Number
        Tokens of the whole group, each of which has `top_k` rows.
    gathers : bool
        Whether its rows are the tokens themselves, gathered (the first product), or lie in order (the second).
    """
    per = {"tokens": 1.0, "tokens_per_expert": of.experts / of.ways, "rows_per_expert": of.experts / of.top_k}
    ends = [step.until * per[constants.tiles_by] for step in constants.tiles]
    first, *others = (
        _Product(np.minimum(tokens, np.maximum(end, 1.0)), outputs, inputs, of, step, chip, constants, routing, gathers)
        for step, end in zip(constants.tiles, ends, strict=True)
    )
    worst = first.time()
    for end, product in zip(ends, others, strict=False):  # where the step before ends, and what follows
        found = product.time()
        longer = (np.asarray(tokens) > end) & (found.time_s >= worst.time_s)
        worst = KernelTime(*(np.where(longer, getattr(found, f), getattr(worst, f)) for f in KernelTime.__slots__))
    return worst


def around_time(
    tokens: Number, shape: Mixture, chip: ChipFacts, constants: MixtureConstants, routing: Routing = _RANDOM
) -> KernelTime:
    """Activation, weighted sum and the launch of the whole call; with `whole_step` zeros pass through them as well."""
    of, far = shape.of, np.asarray(shape.of.ways) > 1
    whole = constants.whole_step
    rows = tokens * of.top_k if whole else routing.loads(tokens, of.top_k, of.experts, of.ways).rows
    cleared = (shape.wide + shape.hidden) * (whole & far)
    moved = _RESULT * (rows * (cleared + shape.wide + shape.inner + shape.hidden) + tokens * shape.hidden)
    passing = moved / (chip.bandwidth * constants.scatter)
    launch = constants.launch_s + constants.remote_s * far
    return KernelTime(passing + launch, 0.0, passing, launch, moved)


@dataclass(frozen=True, slots=True)
class _Product:
    """One grouped product with the tiles of one step of the table."""

    tokens: Number
    outputs: Number
    inputs: Number
    of: Experts
    tile: TileStep
    chip: ChipFacts
    constants: MixtureConstants
    law: Routing
    gathers: bool

    def time(self) -> KernelTime:
        c, chip, of, tile = self.constants, self.chip, self.of, self.tile
        loads = self.law.loads(self.tokens, of.top_k, of.experts, of.ways)
        high = loads.tiles(tile.rows)
        across = np.ceil(self.outputs / tile.columns)
        slow = np.where(self.inputs % _ALIGNED == 0, 1.0, c.unaligned)
        starts = high * across / chip.cores * c.tile_s + self._empty_s(high, across)
        compute = self._compute_s(high * across) * slow
        streamed = self._weight_bytes(loads, high, across) + self._gathered_bytes(high * across)
        rows = loads.rows * (self.inputs * of.act_bytes + self.outputs * _RESULT)
        memory = (streamed / c.memory + rows / c.scatter) / chip.bandwidth * slow
        busy = np.maximum(compute, memory) + (1.0 - c.overlap) * np.minimum(compute, memory)
        return KernelTime(busy + starts, compute + starts, memory, 0.0, streamed + rows)

    def _compute_s(self, tiles: Number) -> Number:
        rows = self.tile.rows
        rate = self.chip.peak * (self.constants.compute * rows / (rows + self.constants.ramp_rows))
        padded = np.ceil(self.inputs / _INNER_TILE) * _INNER_TILE
        return 2.0 * tiles * (rows * self.tile.columns) * padded / rate

    def _resident(self, size: Number) -> Number:
        """Share of `size` bytes, met again and again, that stays in the cache: all that fits, none of twice as much."""
        return np.clip(2.0 - size / np.maximum(self.chip.cache, 1.0), 0.0, 1.0)

    def _weight_bytes(self, loads: Loads, high: Number, across: Number) -> Number:
        """Once for each active expert if one matrix fits the cache; else once for each group of tiles run together."""
        matrix = self.outputs * self.inputs * self.of.weight_bytes
        together = np.maximum(self.tile.shared, self.chip.cores / across)
        passes = np.maximum(loads.active, high / together)
        resident = self._resident(matrix)
        return matrix * (loads.active * resident + passes * (1.0 - resident))

    def _gathered_bytes(self, tiles: Number) -> Number:
        """Bytes of tokens' rows that tiles read again from memory, once all tokens together exceed the cache."""
        if not self.gathers:
            return 0.0
        row = self.inputs * self.of.act_bytes
        resident = self._resident(self.tokens * row)
        return self.constants.regather * (1.0 - resident) * tiles * self.tile.rows * row

    def _empty_s(self, high: Number, across: Number) -> Number:
        """Tiles of other chips' experts, which only clear their rows."""
        of, far = self.of, np.asarray(self.of.ways) > 1
        if not self.constants.whole_step or not np.any(far):
            return 0.0
        everywhere = self.law.loads(self.tokens, of.top_k, of.experts, 1).tiles(self.tile.rows)
        return np.maximum(everywhere - high, 0.0) * far * across / self.chip.cores * self.constants.empty_tile_s
