"""A quantised matrix as compressed-tensors stores it: packed words or bytes, scales, zero points."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.recipe.arithmetic.rounding import check_finite, grid, quantise
from dovetail.recipe.scheme import Scheme
from dovetail.runtime import fp4
from dovetail.runtime.packed import pack, pack_zeros
from dovetail.runtime.tensorfile import TensorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from dovetail.runtime.checkpoint import Checkpoint

_ROUNDING = 3 * 4 + 1  # bytes an element: shares of a scale, their nearest integers, these within bounds; as bytes


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


def stored_nearest(name: str, weight: Tensor, scheme: Scheme) -> dict[str, Tensor]:
    """What is stored for the matrix `name` (rows, cols) when it is rounded to the nearest, by its weights alone."""
    scale, zero = grid(weight, scheme)
    return stored_tensors(name, quantise(weight, scale, zero, scheme), scale, zero, scheme)


def rounding_bytes(matrix: TensorInfo) -> float:
    """Most memory while `stored_nearest` works on a matrix: itself, copies of it in fp32, what is stored of it."""
    return matrix.bytes + matrix.elements * _ROUNDING


def stored_fp4(
    name: str, codes: Tensor, scale: Tensor, whole: Tensor | None = None, whole_input: Tensor | None = None
) -> dict[str, Tensor]:
    """What is stored for the matrix `name` of e2m1 `codes` (rows, cols), with scales (rows, groups).

    NVFP4 has a number of the whole tensor, and one of its inputs where they are rounded.
    """
    found = {f"{name}_packed": fp4.pack(codes), f"{name}_scale": scale}
    if whole is not None:
        found[f"{name}_global_scale"] = whole
    if whole_input is not None:
        found[f"{name.removesuffix('weight')}input_global_scale"] = whole_input
    return found


def stored_infos(matrix: TensorInfo, scheme: Scheme) -> tuple[TensorInfo, ...]:
    """What is stored for a matrix, without its weights; scales of integers and e4m3 have its dtype."""
    rows, cols = matrix.shape
    name, groups = matrix.name, cols // scheme.group if scheme.group else 1
    if scheme.fp4:
        two = TensorInfo(f"{name}_packed", "U8", (rows, cols // 2))
        of_groups = TensorInfo(f"{name}_scale", "F8_E4M3" if scheme.kind == "nvfp4" else "U8", (rows, groups))
        wholes = (TensorInfo(f"{name}_global_scale", "F32", (1,)),) if scheme.kind == "nvfp4" else ()
        return two, of_groups, *wholes
    if scheme.kind == "block":
        blocks = TensorInfo(f"{name}_scale", matrix.dtype, (-(-rows // scheme.group), groups))
        return TensorInfo(name, "F8_E4M3", (rows, cols)), blocks
    scale = TensorInfo(f"{name}_scale", matrix.dtype, (rows, groups))
    if not scheme.packed:
        whole = TensorInfo(name, "I8" if scheme.kind == "int" else "F8_E4M3", (rows, cols))
        zeros = () if scheme.symmetric else (TensorInfo(f"{name}_zero_point", "I8", (rows, groups)),)
        return whole, scale, *zeros
    words = TensorInfo(f"{name}_packed", "I32", (rows, -(-cols * scheme.bits // 32)))
    packed = -(-rows * scheme.bits // 32), groups
    zeros = () if scheme.symmetric else (TensorInfo(f"{name}_zero_point", "I32", packed),)
    return words, scale, *zeros, TensorInfo(f"{name}_shape", "I64", (2,))


def round_each(
    checkpoint: Checkpoint, schemes: Mapping[str, Scheme], stored: Callable[[str, Tensor, Scheme], dict[str, Tensor]]
) -> Checkpoint:
    """The checkpoint with every matrix of `schemes` replaced by what `stored` makes of it, its size known before.

    Raises
    ------
    DovetailError
        When it is read: a matrix that holds what is not finite.
    """

    def rounded(name: str, tensor: Tensor) -> dict[str, Tensor]:
        if name not in schemes:
            return {name: tensor}
        check_finite(name, tensor)
        return stored(name, tensor, schemes[name])

    def forecast(info: TensorInfo) -> tuple[TensorInfo, ...]:
        return stored_infos(info, schemes[info.name]) if info.name in schemes else (info,)

    return checkpoint.map(rounded, forecast)
