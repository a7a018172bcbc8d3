"""Number formats of stored tensors: how many bytes a matrix takes, exactly, scales included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean

Number = Any  # a scalar or an array of any shape that broadcasts: a design point is a row, cost functions take columns

DTYPE_BYTES: dict[str, float] = {
    "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "fp8_block": 1,
    "int4": 0.5, "nvfp4": 0.5, "mxfp4": 0.5,
}  # fmt: skip


def dtype_bytes(name: str) -> float:
    """Bytes of one element of a dtype. Raises `DovetailError` with the nearest names for an unknown one."""
    if name not in DTYPE_BYTES:
        raise DovetailError(f"unknown dtype '{name}'", hint=did_you_mean(name, list(DTYPE_BYTES)))
    return DTYPE_BYTES[name]


@dataclass(frozen=True, slots=True)
class Format:
    """How one matrix of (rows, cols) is stored; a row is one output, `cols` run along the inputs.

    Parameters
    ----------
    dtype : str
        Element type (`DTYPE_BYTES`; ``fp8_block`` has an fp32 scale per 128 x 128 elements) of a plain tensor, or
        the name of the packed integers (``"int4"``).
    bits : int
        Payload bits per element. Packed integers (``packed=True``) fill 32-bit words row by row, without gaps:
        ``ceil(cols * bits / 32)`` words a row, the layout of compressed-tensors' ``pack-quantized``.
    group : int
        Elements along a row that share one scale; 0 for one scale per row. Ignored unless `packed`.
    scale : str
        Dtype of the scales.
    density : float
        Kept fraction of the elements, in (0, 1].
    pattern : str
        ``dense`` or ``unstructured`` (zeros stored as zeros: no bytes and no time are saved by themselves).
    """

    dtype: str = "bf16"
    bits: int = 16
    packed: bool = False
    group: int = 0
    scale: str = "bf16"
    density: float = 1.0
    pattern: Literal["dense", "unstructured"] = "dense"

    @property
    def name(self) -> str:
        """Short label: ``bf16``, ``int4-g128``, ``bf16-50%``."""
        label = self.dtype + (f"-g{self.group}" if self.packed and self.group else "")
        return label if self.density == 1.0 else f"{label}-{self.density:.0%}"

    def payload_bytes(self, rows: Number, cols: Number) -> Number:
        """Bytes of the elements and scales of a (rows, cols) matrix; arrays broadcast."""
        if not self.packed:
            scales = 4 * _blocks(rows) * _blocks(cols) if self.dtype == "fp8_block" else 0
            return rows * cols * dtype_bytes(self.dtype) + scales
        words = -(-np.asarray(cols) * self.bits // 32)
        groups = -(-np.asarray(cols) // self.group) if self.group else 1
        return rows * (4 * words + groups * dtype_bytes(self.scale))

    def bits_per_element(self, cols: int = 4096) -> float:
        """Mean stored bits per element of a row of `cols`, scales included."""
        return float(self.payload_bytes(1, cols)) * 8 / cols


def _blocks(size: Number) -> Number:
    """Blocks of 128 along one side: ``fp8_block`` has one fp32 scale for each 128 x 128 of them."""
    return -(-np.asarray(size) // 128)


def plain(dtype: str) -> Format:
    """The unpacked format of a dtype."""
    return Format(dtype=dtype, bits=int(dtype_bytes(dtype) * 8))


def packed_int(bits: int, group: int = 128, scale: str = "bf16") -> Format:
    """Symmetric integers of `bits`, one scale per `group` inputs (0: per row), packed into 32-bit words."""
    return Format(dtype=f"int{bits}", bits=bits, packed=True, group=group, scale=scale)
