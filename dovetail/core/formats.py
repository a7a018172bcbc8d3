"""Number formats of stored tensors: how many bytes a matrix takes, exactly, scales included."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dovetail.core.errors import DovetailError, did_you_mean

Number = Any  # a scalar or an array of any shape that broadcasts: a design point is a row, cost functions take columns

DTYPE_BYTES: dict[str, float] = {
    "fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2, "fp8": 1, "int8": 1, "fp8_block": 1,
    "int4": 0.5, "nvfp4": 0.5, "mxfp4": 0.5,
}  # fmt: skip


FLOATS = ("fp32", "tf32", "bf16", "fp16")  # what weights are trained and unpacked in


def dtype_bytes(name: str) -> float:
    """Bytes of one element of a dtype. Raises `DovetailError` with the nearest names for an unknown one."""
    if name not in DTYPE_BYTES:
        raise DovetailError(f"unknown dtype '{name}'", hint=did_you_mean(name, list(DTYPE_BYTES)))
    return DTYPE_BYTES[name]


def nearest_dtypes(name: str, known: Iterable[str]) -> list[str]:
    """What is nearest to a dtype that is missing among the `known`: the least wide that holds it, and its own kind's.

    Floats before integers, or the other way round, where they are equally wide; the widest where none holds it.
    """

    def distance(other: str) -> tuple[bool, float, bool, bool]:
        extra = DTYPE_BYTES[other] - DTYPE_BYTES[name]
        return extra < 0, abs(extra), _integer(other) != _integer(name), other != "bf16"

    ranked = sorted((k for k in known if k in DTYPE_BYTES), key=distance)
    alike = [other for other in ranked if _integer(other) == _integer(name)]
    return list(dict.fromkeys([*ranked[:1], *alike[:1]]))


def _integer(name: str) -> bool:
    return name.startswith("int")


@dataclass(frozen=True, slots=True)
class Format:
    """How one matrix of (rows, cols) is stored; a row is one output, `cols` run along the inputs.

    Parameters
    ----------
    dtype : str
        Element type (`DTYPE_BYTES`) of a plain tensor, or the name of the packed elements (``"int4"``, ``"nvfp4"``).
    bits : int
        Payload bits per element. Packed elements (``packed=True``) fill 32-bit words row by row, without gaps:
        ``ceil(cols * bits / 32)`` words a row, the layout of compressed-tensors' ``pack-quantized``.
    group : int
        Elements along a row that share one scale; 0 for one scale per row. Ignored unless `packed`.
    scale : str
        Dtype of the scales.
    density : float
        Kept fraction of the elements, in (0, 1].
    pattern : str
        ``dense`` or ``unstructured`` (zeros stored as zeros: no bytes and no time are saved by themselves).
    block : (int, int) or None
        Rows and columns of a plain tensor that share one scale, 0 for all of them; blocks at the edges may be smaller.
        ``(128, 128)`` is DeepSeek-V3's (arXiv 2412.19437), ``(1, 0)`` one scale for each output. None: no such scales.
    zeros : bool
        Integers are asymmetric: each scale has a zero point beside it, of `bits` packed along the outputs where the
        elements are packed, an int8 otherwise.
    order : bool
        Each input has the number of its group as an int32 (GPTQ's ``g_idx``).
    extra : int
        Bytes stored once for each matrix: a scale of the whole tensor, of its inputs.
    """

    dtype: str = "bf16"
    bits: int = 16
    packed: bool = False
    group: int = 0
    scale: str = "bf16"
    density: float = 1.0
    pattern: Literal["dense", "unstructured"] = "dense"
    block: tuple[int, int] | None = None
    zeros: bool = False
    order: bool = False
    extra: int = 0

    @property
    def name(self) -> str:
        """Short label: ``bf16``, ``int4-g128``, ``fp8-128x128``, ``bf16-50%``."""
        label = self.dtype.removesuffix("_block")
        if self.packed:
            label += f"-g{self.group}" if self.group else ""
        elif self.block is not None:
            label += "-channel" if self.block == (1, 0) else "-{}x{}".format(*self.block)
        return label if self.density == 1.0 else f"{label}-{self.density:.0%}"

    @property
    def quantised(self) -> bool:
        """Whether the elements are steps of a scale: packed ones, and fp8 or int8 with scales or without."""
        return self.packed or self.dtype not in FLOATS

    def payload_bytes(self, rows: Number, cols: Number) -> Number:
        """Bytes of the elements and scales of a (rows, cols) matrix; arrays broadcast."""
        return self.element_bytes(rows, cols) + self.scale_bytes(rows, cols)

    def element_bytes(self, rows: Number, cols: Number) -> Number:
        """Bytes of the elements alone."""
        if not self.packed:
            return rows * cols * dtype_bytes(self.dtype)
        return rows * (4 * _parts(cols * self.bits, 32))

    def scale_bytes(self, rows: Number, cols: Number) -> Number:
        """Bytes of all that is stored beside the elements: scales, zero points, numbers of groups."""
        if not self.packed:
            if self.block is None:
                return self.extra
            down, across = (_parts(side, size) for side, size in zip((rows, cols), self.block, strict=True))
            return down * across * (dtype_bytes(self.scale) + self.zeros) + self.extra
        groups = _parts(cols, self.group)
        zeros = groups * (4 * _parts(rows * self.bits, 32)) if self.zeros else 0
        return rows * (groups * dtype_bytes(self.scale)) + zeros + (4 * cols if self.order else 0) + self.extra

    def bits_per_element(self, cols: int = 4096) -> float:
        """Mean stored bits per element of a row of `cols`, scales included."""
        return float(self.payload_bytes(1, cols)) * 8 / cols


def _parts(size: Number, part: int) -> Number:
    """How many parts of `part` cover `size`; one of all of it where `part` is 0."""
    return -(-np.asarray(size) // part) if part else 1


def plain(dtype: str) -> Format:
    """The unpacked format of a dtype; ``fp8_block`` has an fp32 scale for each 128 x 128 elements."""
    if dtype == "fp8_block":
        return Format(dtype, 8, scale="fp32", block=(128, 128))
    return Format(dtype=dtype, bits=int(dtype_bytes(dtype) * 8))


def packed_int(bits: int, group: int = 128, scale: str = "bf16") -> Format:
    """Symmetric integers of `bits`, one scale per `group` inputs (0: per row), packed into 32-bit words."""
    return Format(dtype=f"int{bits}", bits=bits, packed=True, group=group, scale=scale)


# Elements of 4 bits (e2m1) in groups along the inputs. MXFP4: a power of two of 8 bits for each 32 (OCP Microscaling
# Formats 1.0, 2023). NVFP4: an e4m3 scale for each 16 (NVIDIA, arXiv 2509.25149); checkpoints add fp32 scales of the
# whole tensor (`Format.extra`).
MXFP4 = Format("mxfp4", 4, packed=True, group=32, scale="fp8")
NVFP4 = Format("nvfp4", 4, packed=True, group=16, scale="fp8")
