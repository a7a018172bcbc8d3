"""Integers packed into 32-bit words, as compressed-tensors' ``pack-quantized`` stores them, and back to floats.

An integer of `bits` is offset by ``2**(bits-1)``; a row is one little-endian stream of bits without gaps, so 32
integers fill `bits` words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.tensorfile import read_tensor

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_WORD = 32
_ELEMENTS_AT_ONCE = 1 << 18
PARTS = ("_packed", "_scale", "_shape")  # what is stored for one matrix, after its name


def _slots(bits: int) -> list[tuple[int, int, int]]:
    """(word, shift, bits that spill into the next word) of each of the 32 integers that fill `bits` words."""
    places = [divmod(i * bits, _WORD) for i in range(_WORD)]
    return [(word, shift, max(0, shift + bits - _WORD)) for word, shift in places]


def pack(steps: Tensor, bits: int) -> Tensor:
    """Pack int8 (rows, cols) into int32 (rows, ceil(cols * bits / 32)), without gaps within a row."""
    torch = require("torch", "torch", to="pack weights")
    packed: Tensor = torch.cat(
        [_packed(torch, piece, bits) for piece in torch.split(steps, _rows_at_once(steps.shape[1]))]
    )
    return packed


def _rows_at_once(cols: int) -> int:
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


def dequantise(steps: Tensor, scale: Tensor) -> Tensor:
    """``steps * scale`` in the dtype of the scale: what unpacked execution multiplies with."""
    groups = steps.to(scale.dtype).reshape(*scale.shape, -1)
    return (groups * scale.unsqueeze(-1)).reshape(steps.shape)


def packed_bits(config: Mapping[str, Any]) -> int | None:
    """Bits of a checkpoint that `dense_tensors` can unpack: weight-only symmetric integers of one width; else None."""
    quantised = config.get("quantization_config") or {}
    schemes = list((quantised.get("config_groups") or {}).values())
    if quantised.get("format") != "pack-quantized" or len(schemes) != 1:
        return None
    weights = schemes[0].get("weights") or {}
    plain = weights.get("type") == "int" and weights.get("symmetric") and not weights.get("actorder")
    return int(weights["num_bits"]) if plain and not schemes[0].get("input_activations") else None


def dense_tensors(checkpoint: Checkpoint, bits: int, dtype: torch.dtype) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a packed checkpoint as floats of `dtype`, packed matrices unpacked one at a time.

    Raises
    ------
    DovetailError
        A packed matrix lacks its scales or its shape.
    """
    stored = checkpoint.stored
    for name, info in stored.items():
        stem = name.removesuffix(PARTS[0])
        if name == stem:
            if not name.endswith(tuple("weight" + part for part in PARTS)):
                yield name, _cast(read_tensor(info), dtype)
            continue
        if lost := [stem + part for part in PARTS if stem + part not in stored]:
            raise DovetailError(f"no tensor '{lost[0]}'", where=str(checkpoint.folder), why=f"'{name}' needs it")
        words, scale, shape = (read_tensor(stored[stem + part]) for part in PARTS)
        yield stem, _dense(words, scale.to(dtype), int(shape[-1]), bits)


def _dense(words: Tensor, scale: Tensor, cols: int, bits: int) -> Tensor:
    whole = scale.new_empty(len(words), cols)
    rows = _rows_at_once(cols)
    for i in range(0, len(words), rows):
        whole[i : i + rows] = dequantise(unpack(words[i : i + rows], bits, cols), scale[i : i + rows])
    return whole


def _cast(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
