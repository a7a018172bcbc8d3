"""Converters of many tries: what a slice loses is counted once for the same inputs and range."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dovetail.crossbar.training.converting import Converting
from dovetail.crossbar.training.parts import Form
from dovetail.crossbar.training.ranges import ranges

if TYPE_CHECKING:
    from torch import Tensor


class Memory:
    """What was lost, by inputs, codes, slice and range.

    Only of inputs that come again: those of a network's first layer, whatever the converters, and of later ones where
    nothing before them changed. All others would only take room.
    """

    def __init__(self) -> None:
        self._came: set[bytes] = set()
        self._lost: dict[tuple[bytes, int, float], Tensor] = {}

    def again(self, key: bytes) -> bool:
        """Whether these inputs came before; from now on they did."""
        known = key in self._came
        self._came.add(key)
        return known

    def known(self, key: bytes, slice_: int, room: float) -> Tensor | None:
        """What was lost."""
        return self._lost.get((key, slice_, room))

    def keep(self, key: bytes, slice_: int, room: float, lost: Tensor) -> Tensor:
        """Remember and give back what was lost."""
        self._lost[key, slice_, room] = lost
        return lost


@dataclass(frozen=True, slots=True)
class Remembering(Converting):
    """`Converting` for one network and many choices of bits, which share a memory."""

    memory: Memory = field(default_factory=Memory, compare=False)

    def lost(self, vectors: Tensor, codes: Tensor, form: Form) -> Tensor:
        key = _digest(vectors, codes)
        if not self.memory.again(key):
            return Converting.lost(self, vectors, codes, form)
        flat = vectors.reshape(-1, vectors.shape[-1])
        total = flat.new_zeros(len(flat), len(codes))
        for slice_, room in enumerate(ranges(self.bits, form).tolist()):
            lost = self.memory.known(key, slice_, room)
            if lost is None:
                lost = self.memory.keep(key, slice_, room, self.lost_by(slice_, room, flat, codes, form))
            total += lost
        return total.reshape(*vectors.shape[:-1], len(codes))


def _digest(*tensors: Tensor) -> bytes:
    found = hashlib.blake2b(digest_size=16)
    for tensor in tensors:
        found.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
        found.update(tensor.detach().contiguous().numpy().data)
    return found.digest()
