"""Groups of tokens as packed integers and back: the bytes that the kernel reads (`Stretch` in ``kernels.h``)."""

from __future__ import annotations

import torch
from torch import Tensor

from dovetail.model.kv_groups import KVGroups

_AWAY = 2.0**-8  # bf16 rounds by half of this at most


def packed(keys: Tensor, values: Tensor, groups: KVGroups) -> Tensor:
    """Bytes (n, group bytes) of keys and values (n, size, channels)."""
    count, size, channels = keys.shape
    share = groups.shared(channels)
    rows = values.reshape(count, size, channels // share, share)
    parts = (*_coded(keys, 1, groups.bits), *_coded(rows, 3, groups.bits))
    key_codes, key_scales, codes, scales = parts
    return torch.cat(
        [_nibbles(key_codes, groups.bits), _bytes(key_scales, (count,)), _nibbles(codes.reshape(keys.shape), groups.bits),
         _bytes(scales, (count, size))], 1,
    )  # fmt: skip


def unpacked(codes: Tensor, channels: int, groups: KVGroups) -> tuple[Tensor, Tensor]:
    """Keys and values (n, size, channels) in fp32 of bytes (n, group bytes)."""
    count, size, share = len(codes), groups.size, groups.shared(channels)
    shares, wide = channels // share, size * channels * groups.bits // 8
    parts = codes.split([wide, 4 * channels, wide, 4 * size * shares], 1)
    found = [_integers(part, (count, size, channels), groups.bits) for part in parts[::2]]
    scale, zero = _floats(parts[1], (count, 2, channels)).unbind(1)
    keys = found[0] * scale.unsqueeze(1) + zero.unsqueeze(1)
    scale, zero = _floats(parts[3], (count, size, 2, shares)).unbind(2)
    values = found[1].unflatten(2, (shares, share)) * scale.unsqueeze(3) + zero.unsqueeze(3)
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
        halves = codes.reshape(*shape[:2], -1)
        codes = torch.cat((halves & 15, halves >> 4), 2)
    return codes.reshape(shape).float()


def _bytes(scales: Tensor, shape: tuple[int, ...]) -> Tensor:
    return scales.contiguous().view(torch.uint8).reshape(shape[0], -1)


def _floats(codes: Tensor, shape: tuple[int, ...]) -> Tensor:
    return codes.contiguous().view(torch.bfloat16).reshape(shape).float()
