"""The compiled sums, loaded with ctypes; None where no compiler is, and NumPy takes their place."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from dovetail.core.compiling import CannotBuildError
from dovetail.core.files import cache_folder
from dovetail.crossbar.kernels.build import HERE, VARIANTS, build

CHOICE = "DOVETAIL_KERNELS"  # environment: "off" for none
BUILT = HERE / "_build"


class Sums(ctypes.Structure):
    """Mirrors ``Sums`` of ``sums.cpp``."""

    _fields_ = (
        ("vectors", ctypes.c_int64), ("tiles", ctypes.c_int64), ("cycles", ctypes.c_int64), ("words", ctypes.c_int64),
        ("planes", ctypes.c_int64), ("groups", ctypes.c_int64), ("outputs", ctypes.c_int64), ("whole", ctypes.c_int64),
        ("inputs_signed", ctypes.c_int64),
        ("inputs", ctypes.c_void_p), ("weights", ctypes.c_void_p),
        ("tile", ctypes.c_void_p), ("cells", ctypes.c_void_p), ("low", ctypes.c_void_p), ("high", ctypes.c_void_p),
        ("inverse", ctypes.c_void_p), ("worth", ctypes.c_void_p), ("output", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
    )  # fmt: skip


def find() -> Mapping[str, Callable[[Any], None]] | None:
    """What runs here by name, the slowest first; None where nothing is to run or can be compiled."""
    return None if os.environ.get(CHOICE) == "off" else _find()


@lru_cache(maxsize=1)
def _find() -> Mapping[str, Callable[[Any], None]] | None:
    for folder in (BUILT, cache_folder() / "kernels"):
        try:
            return _loaded(build(folder))
        except (CannotBuildError, OSError):
            continue
    return None


def _loaded(path: Path) -> Mapping[str, Callable[[Any], None]]:
    lib, found = ctypes.CDLL(str(path)), {}
    for index, name in enumerate(VARIANTS):
        symbol = f"dovetail_sums_{name}"
        if hasattr(lib, symbol) and lib.dovetail_sums_runs(index):
            function = getattr(lib, symbol)
            function.restype, function.argtypes = None, [ctypes.c_void_p]
            found[name] = function
    return found
