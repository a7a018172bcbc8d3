"""Shapes to choose among: all arrays of powers of two, the tokens of a pass, and what they are predicted to take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dovetail.accel.choose.port import memory_of, port_of
from dovetail.accel.compile.schedule import Program, schedule
from dovetail.accel.compile.shape import Shape
from dovetail.accel.cycles.predict import predict
from dovetail.accel.cycles.ring import Port
from dovetail.accel.golden.model import IntegerModel
from dovetail.accel.golden.program import Attend, Convolve, Pool
from dovetail.accel.resources.count import Resources
from dovetail.accel.resources.modelled import modelled
from dovetail.accel.simulate.verilator import Memory
from dovetail.core.errors import DovetailError

ROWS, COLUMNS, TILES = 64, 256, (16, 32, 64)  # the most rows and columns; tokens of a pass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A design that was looked at.

    Parameters
    ----------
    program : Program
    memory : Memory
    resources : Resources
        Modelled.
    """

    program: Program
    memory: Memory
    resources: Resources

    def decode_cycles(self, position: int) -> float:
        """Of one token at a position."""
        return predict(self.program, position, 1, self._port, chooses=True).cycles

    def prefill_cycles(self, tokens: int) -> float:
        """Of a prompt, in passes of a tile each, as the sequencer makes them."""
        tile = self.program.shape.tile
        passes = ((first, min(tile, tokens - first)) for first in range(0, tokens, tile))
        return sum(
            predict(self.program, first, count, self._port, chooses=first + count == tokens).cycles
            for first, count in passes
        )

    def request_cycles(self, context: int) -> float:
        """Of half a context read and the other half made, for each token made."""
        half = max(1, context // 2)
        return self.decode_cycles(half + half // 2) + self.prefill_cycles(half) / half

    @property
    def _port(self) -> Port:
        return port_of(self.memory, self.program.shape.word)


def shapes(model: IntegerModel, room: int = 0) -> Iterator[Shape]:
    """Arrays with rows enough for the heads that share keys, small ones first, of each the tiles that grow.

    Parameters
    ----------
    room : int
        Inputs that memory holds, of a model without tokens: its passes take one each.
    """
    if not model.vocabulary:
        yield from _of_features(model, room)
        return
    sharing = max((step.heads // step.kv_heads for step in model.steps if isinstance(step, Attend)), default=1)
    context = 1 << (model.context - 1).bit_length()
    for rows, columns, lanes in _sizes(sharing):
        for tile in sorted({min(max(tile, rows), context) for tile in TILES}):
            if rows <= context and 2 * columns <= context:
                yield Shape(rows, columns, lanes, tile=tile, context=context)


def _of_features(model: IntegerModel, room: int) -> Iterator[Shape]:
    mapped = any(isinstance(step, Convolve | Pool) for step in model.steps)
    for rows, columns, lanes in _sizes(2):
        context = 1 << (max(room, 2 * columns) - 1).bit_length()
        yield Shape(rows, columns, lanes, tile=1, context=context, maps=mapped)


def _sizes(least: int) -> list[tuple[int, int, int]]:
    """Rows, columns and lanes, by their products."""
    sizes = [
        (rows, columns, lanes)
        for rows in _powers(2, ROWS) if rows >= least
        for columns in _powers(4, COLUMNS)
        for lanes in _powers(4, columns)
    ]  # fmt: skip
    return sorted(sizes, key=lambda size: size[0] * size[1] * size[2])


def candidate(
    model: IntegerModel, shape: Shape, family: str, bandwidth: float, clock_hz: float, latency_s: float
) -> Candidate | None:
    """A shape as a design; None where the overlay of this shape does not hold the model."""
    try:
        program = schedule(model, shape)
    except DovetailError:
        return None
    memory = memory_of(bandwidth, clock_hz, latency_s, program.shape.word)
    return Candidate(program, memory, modelled(program.shape, family))


def _powers(first: int, last: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= 2
