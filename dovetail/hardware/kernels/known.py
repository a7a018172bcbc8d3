"""The constants that are known of a chip's kernels, by family and by what is multiplied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from dovetail.core.content import ByContent
from dovetail.hardware.kernels.attention import AttentionConstants, AttentionKernel
from dovetail.hardware.kernels.gemm import GemmConstants
from dovetail.hardware.kernels.latent import LatentConstants
from dovetail.hardware.kernels.mixture import MixtureConstants

T = TypeVar("T")

# Where nobody measured the kernels of a dtype, those of the next one stand in. None does for fp32: it runs beside the
# matrix units, with tiles, loads and skinny products of its own.
STAND_INS: Mapping[str, tuple[str, ...]] = {
    "fp16": ("bf16",), "tf32": ("bf16",), "fp8_block": ("fp8", "bf16"), "fp8": ("bf16",),
    "int8": ("fp8", "bf16"), "int4": ("int8", "fp8", "bf16"), "fp4": ("fp8", "bf16"), "nvfp4": ("fp4", "fp8", "bf16"),
    "mxfp4": ("fp4", "fp8", "bf16"), "fp6": ("fp8", "bf16"), "w8a16": ("w4a16", "bf16"), "w4a16": ("w8a16", "bf16"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Attended(ByContent):
    """An attention kernel and what is measured of it."""

    kernel: AttentionKernel
    constants: AttentionConstants


@dataclass(frozen=True, slots=True, eq=False)
class Kernels(ByContent):
    """Constants of a chip's kernels.

    Parameters
    ----------
    gemm : mapping of str to GemmConstants
        By the dtype that is multiplied; ``w8a16`` and ``w4a16`` are products with weights that are unpacked on the way.
    attention : mapping of str to Attended
        By the dtype of the cache.
    mixture : mapping of str to MixtureConstants
        As `gemm`.
    latent : mapping of str to LatentConstants
        As `attention`, of multi-head latent attention; without any it is priced as `attention`.
    """

    gemm: Mapping[str, GemmConstants]
    attention: Mapping[str, Attended]
    mixture: Mapping[str, MixtureConstants] = field(default_factory=dict)
    latent: Mapping[str, LatentConstants] = field(default_factory=dict)


def known_for(table: Mapping[str, T], dtype: str) -> tuple[str, T] | None:
    """The entry of a dtype, or of the first of its stand-ins that is there, and its name; None where none is."""
    names = (dtype, *STAND_INS.get(dtype, ()))
    return next(((name, table[name]) for name in names if name in table), None)


def nearest(table: Mapping[str, T], dtype: str) -> tuple[str, T]:
    """What `known_for` finds, else any entry: where a fit of a dtype that nobody measured starts.

    Raises
    ------
    StopIteration
        There is no entry at all.
    """
    return known_for(table, dtype) or next(iter(table.items()))
