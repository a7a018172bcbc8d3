"""A quantised matrix as compressed-tensors stores it (``pack-quantized``), and the config that says so."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dovetail.core.lazy import require
from dovetail.runtime.packed import PARTS, pack
from dovetail.runtime.tensorfile import TensorInfo

if TYPE_CHECKING:
    from torch import Tensor


def packed_tensors(name: str, steps: Tensor, scale: Tensor, bits: int) -> dict[str, Tensor]:
    """What is stored for the matrix `name` (``….weight``): packed words, scales, and its shape as metadata."""
    torch = require("torch", "torch", to="pack weights")
    shape = torch.tensor(steps.shape, dtype=torch.int64)
    return {name + part: tensor for part, tensor in zip(PARTS, (pack(steps, bits), scale, shape))}


def packed_infos(matrix: TensorInfo, bits: int, group: int) -> tuple[TensorInfo, ...]:
    """What `packed_tensors` yields for a matrix, without its weights."""
    rows, cols = matrix.shape
    name, groups = matrix.name, cols // group if group else 1
    found = ("I32", (rows, -(-cols * bits // 32))), (matrix.dtype, (rows, groups)), ("I64", (2,))
    return tuple(TensorInfo(name + part, dtype, shape) for part, (dtype, shape) in zip(PARTS, found))


def quantization_config(bits: int, group: int, ignored: Iterable[str]) -> dict[str, Any]:
    """The ``quantization_config`` of weight-only symmetric integers; `ignored` are the linear modules left dense."""
    weights = {
        "num_bits": bits, "type": "int", "symmetric": True, "dynamic": False,
        "strategy": "group" if group else "channel", "group_size": group or None,
    }  # fmt: skip
    scheme = {"targets": ["Linear"], "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": scheme},
        "ignore": sorted(set(ignored)),
        "kv_cache_scheme": None,
    }
