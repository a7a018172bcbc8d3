"""Round-to-nearest integers with shared scales, and their packing into 32-bit words: the arithmetic, nothing else.

Weights are (rows, cols), scales (rows, groups), integers int8 in ``[-2**(bits-1), 2**(bits-1) - 1]``. Words follow the
``pack-quantized`` layout of compressed-tensors: integers offset by ``2**(bits-1)``, each row one little-endian stream of bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require

if TYPE_CHECKING:
    import torch

_WORD = 32


def absmax_scale(weight: torch.Tensor, bits: int, group: int = 0) -> torch.Tensor:
    """Scales that spread ``2**bits`` levels over ``[-absmax, absmax]`` of each group of a row: ``absmax / (2**bits - 1) * 2``.

    Parameters
    ----------
    weight : Tensor (rows, cols)
    bits : int
    group : int
        Divides cols; 0 for one group per row.

    Returns
    -------
    Tensor (rows, groups) of the weight's dtype; 1 where a group is all zero.
    """
    torch = require("torch", "torch", to="quantise")
    rows, cols = weight.shape
    peak = weight.float().abs().reshape(rows, -1, group or cols).amax(-1)
    scale = (peak / ((2**bits - 1) / 2)).to(weight.dtype)
    return torch.where(scale == 0, torch.ones_like(scale), scale)


def quantise(weight: torch.Tensor, scale: torch.Tensor, bits: int) -> torch.Tensor:
    """Nearest integers (ties to even) of ``weight / scale``, clamped to `bits`: int8 (rows, cols)."""
    torch = require("torch", "torch", to="quantise")
    top = 2 ** (bits - 1)
    groups = weight.float().reshape(*scale.shape, -1)
    steps = torch.round(groups / scale.float().unsqueeze(-1)).clamp(-top, top - 1)
    return steps.to(torch.int8).reshape(weight.shape)


def dequantise(steps: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """``steps * scale`` in the dtype of the scale: what unpacked execution multiplies with."""
    groups = steps.to(scale.dtype).reshape(*scale.shape, -1)
    return (groups * scale.unsqueeze(-1)).reshape(steps.shape)


def _slots(bits: int) -> list[tuple[int, int, int]]:
    """(word, shift, bits that spill into the next word) of each of the 32 integers that fill `bits` words."""
    places = [divmod(i * bits, _WORD) for i in range(_WORD)]
    return [(word, shift, max(0, shift + bits - _WORD)) for word, shift in places]


def pack(steps: torch.Tensor, bits: int) -> torch.Tensor:
    """Pack int8 (rows, cols) into int32 (rows, ceil(cols * bits / 32)), without gaps within a row."""
    torch = require("torch", "torch", to="pack weights")
    rows, cols = steps.shape
    blocks = -(-cols // _WORD)
    codes = torch.nn.functional.pad(steps.long() + 2 ** (bits - 1), (0, blocks * _WORD - cols))
    codes = codes.reshape(rows, blocks, _WORD)
    words = torch.zeros(rows, blocks, bits, dtype=torch.int64, device=steps.device)
    for i, (word, shift, spill) in enumerate(_slots(bits)):
        words[..., word] |= codes[..., i] << shift
        if spill:
            words[..., word + 1] |= codes[..., i] >> (bits - spill)
    words = words & (2**_WORD - 1)
    signed = torch.where(words >= 2 ** (_WORD - 1), words - 2**_WORD, words)
    return signed.to(torch.int32).reshape(rows, -1)[:, : -(-cols * bits // _WORD)].contiguous()


def unpack(words: torch.Tensor, bits: int, cols: int) -> torch.Tensor:
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
    return codes.to(torch.int8).reshape(rows, -1)[:, :cols]
