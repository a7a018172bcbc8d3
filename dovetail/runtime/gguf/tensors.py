"""The tensors of a checkpoint as GGUF holds them, one at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.lazy import require
from dovetail.runtime.checkpoint import Checkpoint
from dovetail.runtime.gguf.blocks import Array, Block, Blocks, rounded
from dovetail.runtime.gguf.carry import Choice, carried, chosen
from dovetail.runtime.packed import rows_at_once
from dovetail.runtime.stored import Stored
from dovetail.runtime.tensorfile import read_tensor

if TYPE_CHECKING:
    from torch import Tensor

_ITEM = {"F32": 4, "F16": 2, "BF16": 2}


@dataclass(slots=True)
class Error:
    """Squares of what was added to values on the way, and of the values."""

    added: float = 0.0
    values: float = 0.0

    def count(self, found: Array, wanted: Array) -> None:
        """Add the elements of one piece."""
        self.added += float(np.square(found.astype(np.float64) - wanted.astype(np.float64)).sum())
        self.values += float(np.square(wanted.astype(np.float64)).sum())

    @property
    def relative(self) -> float:
        """Root mean square of what was added, to that of the values."""
        return math.sqrt(self.added / self.values) if self.values else 0.0


@dataclass(frozen=True, slots=True)
class Matrix:
    """One tensor of the checkpoint and the GGUF type it gets.

    Parameters
    ----------
    name : str
        In the checkpoint, without the suffix of a part.
    shape : tuple of int
    choice : Choice
    quantised : bool
        Whether the checkpoint holds it as integers or e4m3 with scales.
    """

    name: str
    shape: tuple[int, ...]
    choice: Choice
    quantised: bool = False

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        if (block := self.choice.block) is not None:
            return math.prod(self.shape[:-1]) * block.row_bytes(self.shape[-1])
        return math.prod(self.shape) * _ITEM[self.choice.type]


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint whose tensors become those of a GGUF file."""

    checkpoint: Checkpoint
    stored: Stored | None
    error: dict[str, Error] = field(default_factory=dict)

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Source:
        """Raises `DovetailError` where weights are quantised in a form that is not read here."""
        return cls(checkpoint, Stored.required(checkpoint))

    def matrices(self) -> Iterator[Matrix]:
        """Every tensor with its type: the checkpoint's own for dense matrices, fp32 for norms and biases."""
        for name, info in self.checkpoint.stored.items():
            owner = self.stored.owner(name) if self.stored else None
            if owner is None or self.stored is None:
                own = info.dtype if info.dtype in _ITEM and len(info.shape) > 1 else "F32"
                yield Matrix(name, info.shape, Choice(own, True))
            elif name == self.stored.elements(owner):
                shape = self.stored.shape(owner)
                yield Matrix(owner, shape, chosen(self.stored.form(owner), shape[1]), quantised=True)

    def encoded(self, matrix: Matrix) -> Array:
        """The tensor as numpy holds what is written: bytes of blocks (rows, bytes), or floats; bf16 as its 16 bits."""
        if (block := matrix.choice.block) is None:
            return self._floats(matrix)
        packed = np.empty((matrix.shape[0], block.row_bytes(matrix.shape[1])), np.uint8)
        for rows, blocks in self._blocks(matrix, block):
            packed[rows] = blocks.packed()
        return packed

    def values(self, matrix: Matrix) -> NDArray[np.float32]:
        """The numbers that readers of the file will have, in the order of the checkpoint's rows."""
        if (block := matrix.choice.block) is not None:
            return np.concatenate([blocks.values() for _, blocks in self._blocks(matrix, block)])
        found = self._floats(matrix)
        wide = (found.astype(np.uint32) << 16).view(np.float32) if matrix.choice.type == "BF16" else found
        return wide.astype(np.float32)

    def _floats(self, matrix: Matrix) -> Array:
        torch = require("torch", "torch", to="read weights")
        if matrix.quantised and self.stored:
            exact = self.stored.dense(matrix.name, torch.float32).numpy()
            found: Array = exact.astype(np.float16)
            self._check(matrix, found)
            self.error.setdefault(matrix.name, Error()).count(found, exact)
            return found
        tensor = read_tensor(self.checkpoint.stored[matrix.name])
        if matrix.choice.type == "F32":
            tensor = tensor.float()
        elif matrix.choice.type == "BF16":
            tensor = tensor.view(torch.uint16)
        plain: Array = tensor.numpy()
        return plain

    def _blocks(self, matrix: Matrix, block: Block) -> Iterator[tuple[slice, Blocks]]:
        """The rows of a quantised matrix, some at a time, as blocks; what rounding adds is counted."""
        torch = require("torch", "torch", to="read weights")
        if self.stored is None:
            raise ValueError(f"{matrix.name} is dense")
        error = self.error[matrix.name] = Error()
        exact = self.stored.dense(matrix.name, torch.float32).numpy()
        integers = self.stored.matrix(matrix.name) if matrix.choice.carried else None
        for begin in range(0, len(exact), rows_at_once(exact.shape[1])):
            rows = slice(begin, min(begin + rows_at_once(exact.shape[1]), len(exact)))
            with np.errstate(over="ignore"):
                if integers is not None:
                    steps, scale, zero, bits = integers
                    points = None if zero is None else _ints(zero[rows])
                    found = carried(_ints(steps[rows]), scale[rows].float().numpy(), points, block, bits)
                else:
                    found = rounded(exact[rows], block)
            self._check(matrix, found.scale if found.low is None else np.stack([found.scale, found.low]))
            error.count(found.values(), exact[rows])
            yield rows, found

    def _check(self, matrix: Matrix, half: Array) -> None:
        if not np.isfinite(half).all():
            why = "GGUF keeps scales, and what fits no block, in 16 bits, of 65504 at most"
            raise DovetailError("weights are too large for GGUF", where=matrix.name, why=why, exit_code=INFEASIBLE)


def _ints(tensor: Tensor) -> NDArray[np.int8]:
    found: NDArray[np.int8] = tensor.numpy()
    return found
