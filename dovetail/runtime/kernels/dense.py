"""Products of plain float weights with few tokens: what trees of guesses and small batches need.

Matrix libraries are made for many tokens: with the one that torch brings, two cost 1.6 times what one does. These
kernels read each weight once for four tokens, so a few cost little more than one.
"""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor
from torch.nn import functional

from dovetail.runtime.kernels.library import Floating, Library, find
from dovetail.runtime.kernels.linear import refuse_failure

MOST = 256  # tokens of a product; with more, matrix libraries are as fast


class DenseProduct:
    """``y = x W^T + bias`` in fp32 on a CPU; by torch for many tokens, or where there are no kernels.

    Parameters
    ----------
    weight : Tensor (rows, columns)
        Kept as it is, not copied.
    bias : Tensor (rows,) or None
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()
        parts = [part for part in (self.weight, self.bias) if part is not None]
        plain = all(part.is_cpu and part.dtype is torch.float32 and part.is_contiguous() for part in parts)
        plain = plain and weight.numel() > 0
        found = find() if plain else None
        self._most = MOST if isinstance(found, Library) else 0
        if isinstance(found, Library):
            rows, columns = weight.shape
            pointers = [None if part is None else part.data_ptr() for part in (self.weight, self.bias)]
            self._matrix = Floating(rows, columns, *pointers)
            self._address, self._dense, self._index = ctypes.addressof(self._matrix), found.dense, found.variant()

    @property
    def address(self) -> int | None:
        """Of the `Floating` that a kernel reads; None where there are no kernels for these weights."""
        return self._address if self._most else None

    def __call__(self, x: Tensor) -> Tensor:
        """`x` (…, columns) to (…, rows)."""
        rows, columns = self.weight.shape
        tokens = x.numel() // max(1, columns)
        fits = x.is_cpu and x.dtype is torch.float32 and x.shape[-1] == columns and not x.requires_grad
        if not fits or not 0 < tokens <= self._most:
            return functional.linear(x, self.weight, self.bias)
        x, y = x.contiguous(), torch.empty((*x.shape[:-1], rows), dtype=torch.float32, device="cpu")
        failed = self._dense(self._address, x.data_ptr(), tokens, y.data_ptr(), self._index, torch.get_num_threads())
        if failed:
            refuse_failure(failed, tokens)
        return y
