"""A quantised matrix as compressed-tensors stores it: packed words or bytes, scales, zero points."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.recipe.scheme import Scheme
from dovetail.runtime.packed import pack, pack_zeros
from dovetail.runtime.tensorfile import TensorInfo

if TYPE_CHECKING:
    from torch import Tensor


def stored_tensors(name: str, steps: Tensor, scale: Tensor, zero: Tensor | None, scheme: Scheme) -> dict[str, Tensor]:
    """What is stored for the matrix `name` (``….weight``).

    Parameters
    ----------
    steps : Tensor (rows, cols)
        int8, or e4m3.
    scale, zero : Tensor (rows, groups)
    """
    torch = require("torch", "torch", to="pack weights")
    if not scheme.packed:
        found = {name: steps, f"{name}_scale": scale}
        return found if zero is None else {**found, f"{name}_zero_point": zero}
    found = {f"{name}_packed": pack(steps, scheme.bits), f"{name}_scale": scale}
    if zero is not None:
        found[f"{name}_zero_point"] = pack_zeros(zero, scheme.bits)
    return {**found, f"{name}_shape": torch.tensor(steps.shape, dtype=torch.int64)}


def stored_infos(matrix: TensorInfo, scheme: Scheme) -> tuple[TensorInfo, ...]:
    """What `stored_tensors` yields for a matrix, without its weights; scales have its dtype."""
    rows, cols = matrix.shape
    name, groups = matrix.name, cols // scheme.group if scheme.group else 1
    scale = TensorInfo(f"{name}_scale", matrix.dtype, (rows, groups))
    if not scheme.packed:
        whole = TensorInfo(name, "I8" if scheme.kind == "int" else "F8_E4M3", (rows, cols))
        zeros = () if scheme.symmetric else (TensorInfo(f"{name}_zero_point", "I8", (rows, groups)),)
        return whole, scale, *zeros
    words = TensorInfo(f"{name}_packed", "I32", (rows, -(-cols * scheme.bits // 32)))
    packed = -(-rows * scheme.bits // 32), groups
    zeros = () if scheme.symmetric else (TensorInfo(f"{name}_zero_point", "I32", packed),)
    return words, scale, *zeros, TensorInfo(f"{name}_shape", "I64", (2,))
