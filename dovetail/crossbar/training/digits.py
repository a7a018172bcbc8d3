"""Handwritten digits: MNIST where it is on disk, scikit-learn's 8 x 8 ones where it is not."""

from __future__ import annotations

import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require

if TYPE_CHECKING:
    from torch import Tensor

_TRAIN, _TEST = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"), (
    "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz",
)  # fmt: skip
_HELD_OUT = 5000  # of MNIST's training images, for validation


@dataclass(frozen=True, slots=True, eq=False)
class Digits10:
    """Images (N, 1, height, width) from 0 to 1 with labels (N,): to train on, to choose by, to report on.

    Parameters
    ----------
    name : str
        ``MNIST`` or ``scikit-learn digits``.
    train, validation, test : (Tensor, Tensor)
        Validation images come from the training set's file, and are none of those trained on.
    """

    name: str
    train: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]


def load_digits(folder: Path | None = None, count: int = 10_000, seed: int = 0) -> Digits10:
    """`count` digits to train on, with others to choose by and to report on.

    Parameters
    ----------
    folder : Path
        With MNIST's four ``idx…-ubyte.gz`` files; by default ``corpora/mnist`` in ``$DOVETAIL_DATA``.
    count : int
        Training images, at most 55,000 of MNIST; scikit-learn has 1,797 images in all.
    seed : int
        Which images are trained on and which are for validation.

    Raises
    ------
    DovetailError
        A folder without MNIST; no folder, and scikit-learn is not installed.
    """
    asked = folder is not None
    folder = folder or Path(os.environ.get("DOVETAIL_DATA", "../shared/data")) / "corpora" / "mnist"
    if all((folder / name).is_file() for name in (*_TRAIN, *_TEST)):
        x, y = _pair(folder, _TRAIN)
        test = _pair(folder, _TEST)
        held = min(_HELD_OUT, len(x) // 6)
        return _split("MNIST", x, y, test, min(count, len(x) - held), held, seed)
    if asked:
        raise DovetailError("no MNIST", where=str(folder), hint=f"a folder with {', '.join((*_TRAIN, *_TEST))}")
    found = require("sklearn.datasets", "dev", to="load digits").load_digits()
    x, y = (found.images * 15.9375).astype(np.uint8)[:, None], found.target.astype(np.int64)
    order = np.random.default_rng(12345).permutation(len(x))  # always the same test images
    x, y, rest = x[order], y[order], len(x) - 500
    return _split("scikit-learn digits", x[:rest], y[:rest], (x[rest:], y[rest:]), min(count, rest - 250), 250, seed)


def _split(
    name: str, x: NDArray[np.uint8], y: NDArray[np.int64], test: tuple[NDArray[np.uint8], NDArray[np.int64]],
    count: int, held: int, seed: int,
) -> Digits10:  # fmt: skip
    order = np.random.default_rng(seed).permutation(len(x))
    first, last = order[:count], order[len(order) - held :]
    return Digits10(name, _tensors(x[first], y[first]), _tensors(x[last], y[last]), _tensors(*test))


def _tensors(x: NDArray[np.uint8], y: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    torch = require("torch", "torch", to="train")
    return torch.from_numpy(x.astype(np.float32) / 255), torch.from_numpy(y)


def _pair(folder: Path, names: tuple[str, str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images (N, 1, height, width) and labels of two idx files: a header of big-endian sizes, then bytes."""
    images, labels = (_idx(folder / name) for name in names)
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        why = f"images {images.shape}, labels {labels.shape}"
        raise DovetailError("is not MNIST", where=str(folder), why=why, hint="the original idx files")
    return images[:, None], labels.astype(np.int64)


def _idx(path: Path) -> NDArray[np.uint8]:
    with gzip.open(path) as file:
        data = file.read()
    dims = data[3]
    shape = tuple(int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dims))
    if data[:3] != b"\0\0\x08" or len(data) != 4 + 4 * dims + int(np.prod(shape)):
        raise DovetailError("is no idx file of bytes", where=str(path), hint="MNIST's original files")
    return np.frombuffer(data, np.uint8, offset=4 + 4 * dims).reshape(shape)
