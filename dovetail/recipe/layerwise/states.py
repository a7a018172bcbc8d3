"""Hidden states of the calibration text on disk, before each decoder layer: one batch in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

GO_ON = "free some space and start the same command again: it goes on from here"


@dataclass(frozen=True, slots=True)
class States:
    """A NumPy file of fp32 (batches, B, T, hidden)."""

    path: Path
    shape: tuple[int, ...]

    @classmethod
    def read(cls, folder: Path, layer: int) -> States:
        """What goes into a layer."""
        path = _path(folder, layer)
        return cls(path, np.load(path, mmap_mode="r").shape)

    @staticmethod
    def exist(folder: Path, layer: int) -> bool:
        """Whether what goes into a layer is on disk."""
        return _path(folder, layer).is_file()

    @staticmethod
    def write(folder: Path, layer: int, batches: Iterable[Tensor]) -> None:
        """Write batches of one shape; the file appears when all of them are there.

        Raises
        ------
        DovetailError
            The disk is full.
        """
        path = _path(folder, layer)
        part, count = path.with_suffix(".part"), 0
        shape: tuple[int, ...] = ()
        try:
            with part.open("wb") as file:
                file.write(b"\0" * _HEAD)
                for batch in batches:
                    shape, count = tuple(batch.shape), count + 1
                    file.write(batch.float().contiguous().numpy().data)
                file.seek(0)
                file.write(_head((count, *shape)))
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, path)
        except OSError as error:
            part.unlink(missing_ok=True)
            why = error.strerror or str(error)
            raise DovetailError("could not keep hidden states", where=str(folder), why=why, hint=GO_ON) from error

    @property
    def batches(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        torch = require("torch", "torch")
        size = int(np.prod(self.shape[1:]))
        with self.path.open("rb") as file:
            file.seek(_HEAD)
            while len(batch := np.fromfile(file, np.float32, size)):
                yield torch.from_numpy(batch.reshape(self.shape[1:]))

    def remove(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


_HEAD = 128  # bytes before the data


def _path(folder: Path, layer: int) -> Path:
    return folder / f"states-{layer}.npy"


def _head(shape: tuple[int, ...]) -> bytes:
    """The header of version 1.0 of NumPy's format, as long as `_HEAD`."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (_HEAD - 10).to_bytes(2, "little") + text.ljust(_HEAD - 11).encode() + b"\n"
