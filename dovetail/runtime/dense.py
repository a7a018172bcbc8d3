"""A quantised checkpoint as a dense one: every matrix the floats it stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from dovetail.core.lazy import require
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.stored import Stored
from dovetail.runtime.tensorfile import TORCH_NAMES, TensorInfo

if TYPE_CHECKING:
    from torch import Tensor


_FLOATS = ("F32", "F16", "BF16")


def dense(checkpoint: Checkpoint) -> Checkpoint:
    """The checkpoint whose quantised matrices are floats in the dtype of their scales, or bf16; others as they are.

    Raises
    ------
    DovetailError
        Weights are quantised in a form that is not read here.
    """
    stored = Stored.required(checkpoint)
    if stored is None:
        return checkpoint

    def floats(matrix: str) -> Tensor:
        torch = require("torch", "torch", to="unpack weights")
        return stored.dense(matrix, getattr(torch, TORCH_NAMES[_dtype(stored, matrix)]))

    return with_matrices(stored, floats, lambda matrix: _dtype(stored, matrix))


def with_matrices(stored: Stored, value: Callable[[str], Tensor], dtype: Callable[[str], str]) -> Checkpoint:
    """The checkpoint whose quantised matrices are what `value` gives, of the safetensors `dtype`, one at a time."""

    def unpacked(name: str, tensor: Tensor) -> Mapping[str, Tensor]:
        owner = stored.owner(name)
        if owner is None:
            return {name: tensor}
        return {owner: value(owner)} if name == stored.elements(owner) else {}

    def forecast(info: TensorInfo) -> tuple[TensorInfo, ...]:
        owner = stored.owner(info.name)
        if owner is None:
            return (info,)
        return (TensorInfo(owner, dtype(owner), stored.shape(owner)),) if info.name == stored.elements(owner) else ()

    config = {name: value for name, value in stored.checkpoint.config.items() if name != "quantization_config"}
    return replace(stored.checkpoint, config=config).map(unpacked, forecast)


def _dtype(stored: Stored, matrix: str) -> str:
    found = stored.checkpoint.stored[f"{matrix}_scale"].dtype
    return found if found in _FLOATS else "BF16"  # scales of 4-bit floats have 8 bits
