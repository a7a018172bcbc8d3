"""The compiled kernels, loaded with ctypes: which variants run here, and the few calls that `linear` makes."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError, did_you_mean
from dovetail.core.files import cache_folder
from dovetail.runtime.kernels.build import HERE, CannotBuildError, build, compiler, file_name

VARIANTS = ("portable", "avx2", "avxvnni", "avx512")  # in rising order of speed
CHOICE = "DOVETAIL_KERNELS"  # environment: one of them, or "off"
BUILT = HERE / "_build"


class Matrix(ctypes.Structure):
    """Mirrors ``Matrix`` of ``kernels.h``."""

    _fields_ = (
        ("rows", ctypes.c_int64), ("columns", ctypes.c_int64), ("block", ctypes.c_int64), ("bits", ctypes.c_int64),
        ("grouped", ctypes.c_int64), ("codes", ctypes.c_void_p), ("scales", ctypes.c_void_p),
        ("zeros", ctypes.c_void_p), ("bias", ctypes.c_void_p),
    )  # fmt: skip


class Floating(ctypes.Structure):
    """Mirrors ``Floating`` of ``kernels.h``."""

    _fields_ = (
        ("rows", ctypes.c_int64), ("columns", ctypes.c_int64), ("weights", ctypes.c_void_p), ("bias", ctypes.c_void_p),
    )  # fmt: skip


class Attending(ctypes.Structure):
    """Mirrors ``Attending`` of ``kernels.h``."""

    _fields_ = (
        ("batch", ctypes.c_int64), ("heads", ctypes.c_int64), ("group", ctypes.c_int64), ("tokens", ctypes.c_int64),
        ("channels", ctypes.c_int64), ("bits", ctypes.c_int64), ("size", ctypes.c_int64), ("share", ctypes.c_int64),
        ("q", ctypes.c_void_p), ("k", ctypes.c_void_p), ("v", ctypes.c_void_p),
        ("q_strides", ctypes.c_int64 * 3), ("k_strides", ctypes.c_int64 * 3), ("v_strides", ctypes.c_int64 * 3),
        ("stretches", ctypes.c_void_p), ("visible", ctypes.c_void_p), ("visible_stride", ctypes.c_int64),
        ("first", ctypes.c_void_p), ("out", ctypes.c_void_p), ("weights", ctypes.c_void_p), ("pitch", ctypes.c_int64),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Library:
    """The loaded library: `path`, the variants that run on this processor, and its functions."""

    path: Path
    variants: tuple[str, ...]
    bytes: Any
    pack: Any
    product: Any
    gated: Any
    norm: Any
    dense: Any
    attend: Any
    step: Any
    guess: Any

    def variant(self, name: str | None = None) -> int:
        """Index of a variant; of ``$DOVETAIL_KERNELS`` or the fastest one where none is named.

        Raises
        ------
        DovetailError
            It is unknown, or does not run on this processor.
        """
        wanted = name or os.environ.get(CHOICE) or self.variants[-1]
        if wanted not in VARIANTS:
            raise DovetailError(f"no variant '{wanted}'", where="kernels", hint=did_you_mean(wanted, list(VARIANTS)))
        if wanted not in self.variants:
            why = "this processor, or the compiler that built the kernels, lacks its instructions"
            hint = "one of " + ", ".join(self.variants)
            raise DovetailError(f"variant '{wanted}' does not run here", where="kernels", why=why, hint=hint)
        return VARIANTS.index(wanted)


@dataclass(frozen=True, slots=True)
class Missing:
    """Why there are no kernels here, as a clause, and what would bring them."""

    why: str
    hint: str


def _folders() -> tuple[Path, Path]:
    """Where a library may be: beside the sources, or in the user's cache where that is not writable."""
    return BUILT, cache_folder() / "kernels"


def built() -> Library | None:
    """The library where it is compiled already; nothing is compiled or remembered."""
    if os.environ.get(CHOICE) == "off":
        return None
    there = [folder / file_name() for folder in _folders() if (folder / file_name()).is_file()]
    try:
        return _loaded(there[0]) if there else None
    except OSError:
        return None


def expected() -> bool:
    """Whether kernels run here, or would once they are compiled; nothing is compiled. What `find` found, it knows."""
    if os.environ.get(CHOICE) == "off":
        return False
    if find.cache_info().currsize:
        return isinstance(find(), Library)
    return built() is not None or _compiles()


def _compiles() -> bool:
    try:
        return bool(compiler())
    except CannotBuildError:
        return False


@lru_cache(maxsize=1)
def find() -> Library | Missing:
    """The library that the installation built, or one compiled now: beside the sources, else in the user's cache."""
    if os.environ.get(CHOICE) == "off":
        return Missing(f"{CHOICE} is off", f"unset {CHOICE}")
    wrong: list[str] = []
    for folder in _folders():
        try:
            return _loaded(build(folder))
        except (CannotBuildError, OSError) as error:
            wrong.append(str(error))
    return Missing(wrong[-1] if wrong[0] == wrong[-1] else "; ".join(wrong), "apt install g++, or another C++ compiler")


def library() -> Library:
    """The kernels. Raises `DovetailError` where there are none, with the reason."""
    found = find()
    if isinstance(found, Missing):
        raise DovetailError("no kernels for packed weights", why=found.why, hint=found.hint)
    return found


def _loaded(path: Path) -> Library:
    lib = ctypes.CDLL(str(path))
    lib.dovetail_variant.restype, lib.dovetail_variant.argtypes = ctypes.c_char_p, [ctypes.c_int]
    lib.dovetail_bytes.restype, lib.dovetail_bytes.argtypes = ctypes.c_int64, [ctypes.c_void_p]
    lib.dovetail_pack.restype, lib.dovetail_pack.argtypes = None, [ctypes.c_void_p] * 3
    product, pointer, number = lib.dovetail_product, ctypes.c_void_p, ctypes.c_int
    product.restype, product.argtypes = number, [pointer, pointer, ctypes.c_int64, pointer, number, number, number]
    lib.dovetail_gated.restype, lib.dovetail_gated.argtypes = number, [
        pointer, pointer, pointer, ctypes.c_int64, pointer, pointer, number, number, number,
    ]  # fmt: skip
    lib.dovetail_norm.restype, lib.dovetail_norm.argtypes = None, [
        pointer, pointer, ctypes.c_float, ctypes.c_int64, ctypes.c_int64, pointer, number,
    ]  # fmt: skip
    dense = lib.dovetail_dense
    dense.restype, dense.argtypes = number, [pointer, pointer, ctypes.c_int64, pointer, number, number]
    lib.dovetail_attend.restype, lib.dovetail_attend.argtypes = number, [pointer, number, number]
    lib.dovetail_step.restype, lib.dovetail_step.argtypes = number, [pointer, pointer, number, number]
    lib.dovetail_guess.restype, lib.dovetail_guess.argtypes = number, [pointer, pointer, number, number]
    names = tuple(name for i, name in enumerate(VARIANTS) if lib.dovetail_variant(i))
    doors = (
        lib.dovetail_bytes,
        lib.dovetail_pack,
        product,
        lib.dovetail_gated,
        lib.dovetail_norm,
        dense,
        lib.dovetail_attend,
        lib.dovetail_step,
        lib.dovetail_guess,
    )
    return Library(path, names, *doors)
