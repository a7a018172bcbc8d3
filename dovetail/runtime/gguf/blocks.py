"""GGUF's block formats: 32 elements of a row share a scale of 16 bits, and some a minimum.

Layouts and values are those of ggml's ``block_q4_0``, ``block_q4_1``, ``block_q5_0``, ``block_q5_1``, ``block_q8_0``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE = 32  # elements of a block
F16_MAX = 65504.0
Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Block:
    """One block format: elements are integers of `bits`.

    Parameters
    ----------
    minimum : bool
        Elements count steps from a minimum kept beside the scale; otherwise from zero, both ways.
    """

    name: str
    bits: int
    minimum: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of a block: scale, minimum, elements."""
        return 2 + 2 * self.minimum + SIZE * self.bits // 8

    @property
    def half(self) -> int:
        """Integers run from ``-half`` to ``half - 1``; from a minimum they count ``integer + half`` steps."""
        return int(2 ** (self.bits - 1))

    def row_bytes(self, cols: int) -> int:
        """Bytes of a row of `cols` elements, a multiple of 32."""
        return cols // SIZE * self.bytes


BLOCKS = {b.name: b for b in (
    Block("Q4_0", 4), Block("Q4_1", 4, True), Block("Q5_0", 5), Block("Q5_1", 5, True), Block("Q8_0", 8),
)}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """Rows of blocks, as integers and what they count.

    Parameters
    ----------
    steps : int8 (rows, blocks, 32)
    scale : float16 (rows, blocks)
    low : float16 (rows, blocks) or None
        The minima, of formats that have them.
    """

    kind: Block
    steps: NDArray[np.int8]
    scale: NDArray[np.float16]
    low: NDArray[np.float16] | None = None

    def values(self) -> NDArray[np.float32]:
        """The numbers they stand for, (rows, cols), in fp32 as every reader computes them."""
        scale, steps = self.scale.astype(np.float32)[..., None], self.steps.astype(np.float32)
        found = steps * scale if self.low is None else (steps + self.kind.half) * scale + self.low[..., None]
        return found.astype(np.float32, copy=False).reshape(len(self.steps), -1)

    def packed(self) -> NDArray[np.uint8]:
        """The bytes of the file, (rows, bytes of a row)."""
        heads = [x.astype("<f2")[..., None].view(np.uint8) for x in (self.scale, self.low) if x is not None]
        if self.kind.bits == 8:
            elements: list[NDArray[np.uint8]] = [self.steps.view(np.uint8)]
        else:
            codes = (self.steps.astype(np.int16) + self.kind.half).astype(np.uint8)
            fifth = [np.packbits(codes >> 4, axis=-1, bitorder="little")] if self.kind.bits == 5 else []
            first, second = codes[..., : SIZE // 2] & 15, codes[..., SIZE // 2 :] & 15
            elements = [*fifth, (first | (second << 4)).astype(np.uint8)]
        found: NDArray[np.uint8] = np.concatenate([*heads, *elements], axis=-1)
        return found.reshape(len(self.steps), -1)


def rounded(values: NDArray[np.float32], kind: Block) -> Blocks:
    """The blocks nearest to `values` (rows, cols): of a few scales the one with the least squared error.

    Elements are rounded by the scale as 16 bits keep it. ggml's own rounding is among the candidates.
    """
    blocks = values.reshape(len(values), -1, SIZE)
    found = [_with(blocks, kind, scale, low) for scale, low in _grids(blocks, kind)]
    errors = np.stack([((b.values().reshape(blocks.shape) - blocks) ** 2).sum(-1) for b in found])
    best = errors.argmin(0)
    steps = np.take_along_axis(np.stack([b.steps for b in found]), best[None, ..., None], 0)[0]
    scale = np.take_along_axis(np.stack([b.scale for b in found]), best[None], 0)[0]
    return Blocks(kind, steps, scale, found[0].low)  # all grids of a kind have the same minima


def _grids(blocks: NDArray[np.float32], kind: Block) -> list[tuple[NDArray[np.float16], NDArray[np.float16] | None]]:
    """Candidate scales and minima."""
    if kind.minimum:
        low = blocks.min(-1).astype(np.float16)
        top = blocks.max(-1)
        spans = (top - low.astype(np.float32), top - blocks.min(-1))  # from the minimum as it is kept, and as it is
        return [((span / (2**kind.bits - 1)).astype(np.float16), low) for span in spans]
    peak = np.abs(blocks).max(-1)
    if kind.bits == 8:
        return [((peak / (kind.half - 1)).astype(np.float16), None)]
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(-1)[..., None], -1)[..., 0]
    scales = (extreme / -kind.half, peak / (kind.half - 0.5), peak / (kind.half - 1))
    return [(scale.astype(np.float16), None) for scale in scales]


def _with(
    blocks: NDArray[np.float32], kind: Block, scale: NDArray[np.float16], low: NDArray[np.float16] | None
) -> Blocks:
    wide = scale.astype(np.float32)[..., None]
    steps = np.divide(blocks - (0 if low is None else low.astype(np.float32)[..., None]), wide, where=wide != 0,
                      out=np.zeros_like(blocks))  # fmt: skip
    whole = np.rint(steps) - (kind.half if low is not None else 0)
    return Blocks(kind, whole.clip(-kind.half, kind.half - 1).astype(np.int8), scale, low)
