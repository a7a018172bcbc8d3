"""Integers packed into 32-bit words, as compressed-tensors' ``pack-quantized`` stores them, and back to floats.

An integer of `bits` is offset by ``2**(bits-1)``; a row is one little-endian stream of bits without gaps, so 32
integers fill `bits` words.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

_WORD = 32
_ELEMENTS_AT_ONCE = 1 << 18


def _slots(bits: int) -> list[tuple[int, int, int]]:
    """(word, shift, bits that spill into the next word) of each of the 32 integers that fill `bits` words."""
    places = [divmod(i * bits, _WORD) for i in range(_WORD)]
    return [(word, shift, max(0, shift + bits - _WORD)) for word, shift in places]


def pack(steps: Tensor, bits: int) -> Tensor:
    """Pack int8 (rows, cols) into int32 (rows, ceil(cols * bits / 32)), without gaps within a row."""
    torch = require("torch", "torch", to="pack weights")
    packed: Tensor = torch.cat(
        [_packed(torch, piece, bits) for piece in torch.split(steps, rows_at_once(steps.shape[1]))]
    )
    return packed


def rows_at_once(cols: int) -> int:
    """Rows to work on together, so that the 64-bit temporaries of a large matrix stay at megabytes."""
    return max(1, _ELEMENTS_AT_ONCE // cols)


def _packed(torch: ModuleType, steps: Tensor, bits: int) -> Tensor:
    rows, cols = steps.shape
    width, blocks = -(-cols * bits // _WORD), -(-cols // _WORD)
    codes = torch.nn.functional.pad(steps.long() + 2 ** (bits - 1), (0, blocks * _WORD - cols))
    codes = codes.reshape(rows, blocks, _WORD)
    words = torch.zeros(rows, blocks, bits, dtype=torch.int64, device=steps.device)
    for i, (word, shift, spill) in enumerate(_slots(bits)):
        words[..., word] |= codes[..., i] << shift
        if spill:
            words[..., word + 1] |= codes[..., i] >> (bits - spill)
    words = words & (2**_WORD - 1)
    signed = torch.where(words >= 2 ** (_WORD - 1), words - 2**_WORD, words)
    packed: Tensor = signed.to(torch.int32).reshape(rows, -1)[:, :width].contiguous()
    return packed


def unpack(words: Tensor, bits: int, cols: int) -> Tensor:
    """The int8 (rows, cols) that `pack` packed."""
    torch = require("torch", "torch", to="unpack weights")
    rows, width = words.shape
    blocks = -(-width // bits)
    stream = torch.nn.functional.pad(words.long() & (2**_WORD - 1), (0, blocks * bits - width))
    stream = stream.reshape(rows, blocks, bits)
    codes = torch.empty(rows, blocks, _WORD, dtype=torch.int64, device=words.device)
    for i, (word, shift, spill) in enumerate(_slots(bits)):
        codes[..., i] = stream[..., word] >> shift
        if spill:
            codes[..., i] |= stream[..., word + 1] << (bits - spill)
    codes = (codes & (2**bits - 1)) - 2 ** (bits - 1)
    steps: Tensor = codes.to(torch.int8).reshape(rows, -1)[:, :cols]
    return steps


def pack_zeros(zero: Tensor, bits: int) -> Tensor:
    """Pack zero points, int8 (rows, groups), along the rows: int32 (ceil(rows * bits / 32), groups)."""
    return pack(zero.T.contiguous(), bits).T.contiguous()


def unpack_zeros(words: Tensor, bits: int, rows: int) -> Tensor:
    """The int8 (rows, groups) that `pack_zeros` packed."""
    return unpack(words.T.contiguous(), bits, rows).T.contiguous()


def dequantise(steps: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """``(steps - zero) * scale`` in the dtype of the scale: what unpacked execution multiplies with."""
    groups = steps.to(scale.dtype).reshape(*scale.shape, -1)
    if zero is not None:
        groups = groups - zero.to(scale.dtype).unsqueeze(-1)
    return (groups * scale.unsqueeze(-1)).reshape(steps.shape)


def over_blocks(scale: Tensor, shape: tuple[int, ...], block: tuple[int, int]) -> Tensor:
    """The scale of each element of a matrix (rows, cols) from those of its blocks, whose last may be smaller."""
    (rows, cols), (down, across) = shape, block
    return scale.repeat_interleave(down, 0)[:rows].repeat_interleave(across, 1)[:, :cols]
