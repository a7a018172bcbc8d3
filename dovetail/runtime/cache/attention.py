"""Attention of a few new tokens over what a cache holds, by the kernel: no mask, no padding, no copy of the cache."""

from __future__ import annotations

import ctypes
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from dovetail.model.kv_groups import KVGroups
from dovetail.runtime.kernels.library import Attending, Library, find
from dovetail.runtime.kernels.linear import refuse_failure

MOST = 64  # new tokens of a sequence; with more, matrix libraries come near
FIELDS = ("keys", "values", "held", "packed", "groups")  # of a `Stretch` in kernels.h, 8 bytes each
_CHANNELS = 512  # of a head at most

Table = NDArray[np.int64]  # (B, KV heads, FIELDS)


def takes(queries: Tensor, most: int | None = None) -> bool:
    """Whether the kernel attends for these queries (B, heads, T, channels)."""
    tokens, channels = queries.shape[2:]
    fits = queries.is_cpu and queries.dtype is torch.float32 and channels % 2 == 0 and channels <= _CHANNELS
    return fits and 0 < tokens <= (MOST if most is None else most) and isinstance(find(), Library)


@dataclass(frozen=True, slots=True)
class Seen:
    """What new tokens see, as the kernel reads it.

    Parameters
    ----------
    visible : Tensor (T, T) or (B, T, T) of uint8, or None
        Which new tokens each new token sees; None: those up to itself.
    first : Tensor (B, T) of int64, or None
        The first old token that each sees; None: all.
    """

    visible: Tensor | None = None
    first: Tensor | None = None

    def pointers(self) -> tuple[int | None, int, int | None]:
        """`visible`, elements from sequence to sequence in it, and `first`, as the kernel reads them."""
        visible, first = self.visible, self.first
        own = 0 if visible is None or visible.dim() == 2 else visible.stride(0)
        return None if visible is None else visible.data_ptr(), own, None if first is None else first.data_ptr()


def packing(groups: KVGroups | None, channels: int) -> tuple[int, int, int]:
    """Bits, size and share of packed groups, as `Attending` in ``kernels.h`` has them."""
    return (0, 0, 0) if groups is None else (groups.bits, groups.size, groups.shared(channels))


def attended(
    table: Table, queries: Tensor, keys: Tensor, values: Tensor, seen: Seen, groups: KVGroups | None = None,
    weights: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Write new keys and values behind those of each stretch, and attend all: (B, T, heads * channels).

    Parameters
    ----------
    table : array
        Where each KV head of each sequence lies, with room for the new tokens.
    groups : KVGroups or None
        How packed tokens are stored, where there are some.
    queries, keys, values : Tensor (B, heads, T, channels)
    weights : Tensor (B, KV heads, T, columns) or None
        Filled with what each new token pays to each token, summed over the query heads of a group.
    """
    found = find()
    if not isinstance(found, Library):
        raise RuntimeError("no kernels")
    table = np.ascontiguousarray(table)
    queries, keys, values = (x if x.stride(3) == 1 else x.contiguous() for x in (queries, keys, values))
    batch, heads, tokens, channels = queries.shape
    own = keys.shape[1]
    out = torch.empty(batch, tokens, heads * channels, device=queries.device)
    strides = [(ctypes.c_int64 * 3)(*x.stride()[:3]) for x in (queries, keys, values)]
    asked = Attending(
        batch, own, heads // own, tokens, channels, *packing(groups, channels),
        queries.data_ptr(), keys.data_ptr(), values.data_ptr(), *strides, table.ctypes.data,
        *seen.pointers(), out.data_ptr(),
        None if weights is None else weights.data_ptr(), 0 if weights is None else weights.shape[3],
    )  # fmt: skip
    failed = found.attend(ctypes.addressof(asked), found.variant(), torch.get_num_threads())
    if failed:
        refuse_failure(failed, batch * tokens)
    return out


def unplanned(device: torch.device) -> AbstractContextManager[Any]:
    """While open, attention on a GPU takes no kernel of cuDNN.

    That plans each new length of a cache by itself, in some 40 ms: most of a text's time, whose length always is new.
    """
    kinds = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(kinds) if device.type == "cuda" else nullcontext()
