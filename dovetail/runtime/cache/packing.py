"""Groups of tokens as packed integers and back: the bytes that the kernel reads (`Stretch` in ``kernels.h``)."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from dovetail.model.kv_groups import KVGroups

_AWAY = 2.0**-8  # bf16 rounds by half of this at most


def packed(keys: Tensor, values: Tensor, groups: KVGroups) -> Tensor:
    """Bytes (n, group bytes) of keys and values (n, size, channels)."""
    count, size, channels = keys.shape
    share = groups.shared(channels)
    rows = values.reshape(count, size, channels // share, share)
    key_codes, key_scales = _coded(keys, 1, groups.bits)
    codes, scales = _coded(rows, 3, groups.bits)
    ints = [_nibbles(x, groups.bits) for x in (key_codes, codes.reshape(keys.shape))]
    return torch.cat([ints[0], _bytes(key_scales), ints[1], _bytes(scales)], 1)


def unpacked(codes: Tensor, channels: int, groups: KVGroups) -> tuple[Tensor, Tensor]:
    """Keys and values (n, size, channels) in fp32 of bytes (n, group bytes)."""
    count, size, share = len(codes), groups.size, groups.shared(channels)
    shares, wide = channels // share, size * channels * groups.bits // 8
    ends = np.cumsum([0, wide, 4 * channels, wide, 4 * size * shares]).tolist()
    parts = [codes[:, begin:end] for begin, end in pairwise(ends)]
    found = [_integers(part, (count, size, channels), groups.bits) for part in parts[::2]]
    scale, zero = _floats(parts[1], (count, 2, channels)).unbind(1)
    keys = found[0] * scale.unsqueeze(1) + zero.unsqueeze(1)
    scale, zero = _floats(parts[3], (count, size, 2, shares)).unbind(2)
    values = found[1].reshape(count, size, shares, share) * scale.unsqueeze(3) + zero.unsqueeze(3)
    return keys, values.flatten(2)


def _coded(x: Tensor, along: int, bits: int) -> tuple[Tensor, Tensor]:
    """Codes of `x`, and scales and zeros (…, 2, …) in bf16, with one of each along a dimension.

    The zero is at most the smallest value and the scale wide enough for the largest, as bf16 rounds them: nothing is
    clipped.
    """
    x, most = x.float(), 2**bits - 1
    least = x.amin(along, keepdim=True)
    zero = (least - least.abs() * _AWAY).bfloat16()
    scale = ((x.amax(along, keepdim=True) - zero.float()) / most * (1 + _AWAY)).bfloat16()
    step = scale.float()
    codes = torch.where(step > 0, ((x - zero.float()) / step).round().clamp(0, most), 0).to(torch.uint8)
    return codes, torch.stack((scale.squeeze(along), zero.squeeze(along)), -2)


def _nibbles(codes: Tensor, bits: int) -> Tensor:
    """Bytes of codes (n, size, channels): of 4 bits, the first half of the channels low."""
    if bits == 4:
        low, high = codes.chunk(2, 2)
        codes = low | high << 4
    return codes.flatten(1)


def _integers(codes: Tensor, shape: tuple[int, ...], bits: int) -> Tensor:
    if bits == 4:
        halves = codes.reshape(*shape[:2], shape[2] // 2)
        codes = torch.cat((halves & 15, halves >> 4), 2)
    return codes.reshape(shape).float()


def _bytes(scales: Tensor) -> Tensor:
    return scales.contiguous().view(torch.uint8).flatten(1)


def _floats(codes: Tensor, shape: tuple[int, ...]) -> Tensor:
    own = codes.clone(memory_format=torch.contiguous_format)  # a view of bytes may begin at an odd one
    return own.view(torch.bfloat16).reshape(shape).float()
