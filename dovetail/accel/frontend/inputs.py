"""Inputs of a network out of a file: numbers for calibration and simulation, and their labels where it has them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dovetail.core.errors import DovetailError

INPUTS, LABELS = ("inputs", "x"), ("labels", "y")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a network reads.

    Parameters
    ----------
    values : (inputs, *sizes) float32
    labels : (inputs,) int64, or None
        Their classes.
    """

    values: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64] | None

    def halves(self) -> tuple[Inputs, Inputs]:
        """The first half, and the other; twice the same of a single input."""
        middle = (len(self.values) + 1) // 2
        first = self._part(slice(0, middle))
        return (first, self._part(slice(middle, None))) if len(self.values) > 1 else (first, first)

    def _part(self, rows: slice) -> Inputs:
        return Inputs(self.values[rows], None if self.labels is None else self.labels[rows])


def load_inputs(path: Path, sizes: tuple[int, ...]) -> Inputs:
    """Read a ``.npy`` file of inputs (inputs, *sizes), or a ``.npz`` of ``inputs`` and, if need be, ``labels``.

    Raises
    ------
    DovetailError
        No such file, one of another kind, arrays of other names or shapes, numbers that are not finite.
    """
    arrays = _arrays(path)
    name = next((each for each in INPUTS if each in arrays), None)
    if name is None:
        why = f"it has {', '.join(arrays) or 'none'}"
        raise DovetailError("no array of inputs", where=str(path), why=why, hint="np.savez(FILE, inputs=…, labels=…)")
    values = _values(arrays[name], sizes, path)
    found = next((arrays[each] for each in LABELS if each in arrays), None)
    return Inputs(values, None if found is None else _labels(found, len(values), path))


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    if not path.is_file():
        raise DovetailError("no such file", where=str(path), hint="inputs as np.save or np.savez writes them")
    try:
        found = np.load(path, allow_pickle=False)
        return {"inputs": found} if isinstance(found, np.ndarray) else {name: found[name] for name in found.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        hint = "inputs as np.save or np.savez writes them"
        raise DovetailError("this is no file of numbers", where=str(path), why=str(error)[:120], hint=hint) from None


def _values(found: npt.NDArray[Any], sizes: tuple[int, ...], path: Path) -> npt.NDArray[np.float32]:
    if found.shape[1:] != sizes or found.ndim != len(sizes) + 1 or len(found) == 0:
        why = f"it holds {_by(found.shape)}, the network reads inputs of {_by(sizes)}"
        raise DovetailError("inputs of another shape", where=str(path), why=why, hint=f"N x {_by(sizes)}")
    if found.dtype.kind not in "fiub":
        raise DovetailError("inputs that are no real numbers", where=str(path), why=str(found.dtype), hint="float32")
    values = found.astype(np.float32)
    if not np.isfinite(values).all():
        raise DovetailError("inputs that are not finite", where=str(path), hint="numbers as the network was trained on")
    return values


def _labels(found: npt.NDArray[Any], count: int, path: Path) -> npt.NDArray[np.int64]:
    if found.shape != (count,) or found.dtype.kind not in "iu":
        why = f"{_by(found.shape)} of {found.dtype} for {count} inputs"
        raise DovetailError("labels that do not fit the inputs", where=str(path), why=why, hint="an integer for each")
    return found.astype(np.int64)


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"
