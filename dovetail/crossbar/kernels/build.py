"""Compile the sums of bits: one object for each instruction set, one library that holds them. Standard library only."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

from dovetail.core.compiling import RefusedError, build_once, run

HERE = Path(__file__).parent
SOURCES = ("sums.cpp",)
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-ffp-contract=off", "-fvisibility=hidden", "-Wno-psabi")
_AVX2 = ("-mavx2", "-mpopcnt")
VARIANTS: dict[str, tuple[str, ...]] = {
    "portable": ("-DDOVETAIL_DOOR",),
    "avx2": _AVX2,
    "avx512": (*_AVX2, "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512vpopcntdq"),
}


def file_name() -> str:
    """Name of the library of these sources on this kind of computer."""
    sink = hashlib.sha256(repr((FLAGS, VARIANTS)).encode())
    for name in SOURCES:
        sink.update((HERE / name).read_bytes())
    return f"sums-{platform.system().lower()}-{platform.machine()}-{sink.hexdigest()[:12]}.so"


def build(folder: Path) -> Path:
    """The library in `folder`, compiled unless it is there. Raises `CannotBuildError` where nothing compiles it."""
    return build_once(folder / file_name(), _compiled)


def _compiled(command: list[str], scratch: Path) -> Path:
    x86 = platform.machine() in ("x86_64", "AMD64")
    objects = [_object(command, scratch, name) for name in VARIANTS if x86 or name == "portable"]
    out = scratch / "sums.so"
    run([*command, "-shared", *(str(path) for path in objects if path is not None), "-o", str(out)])
    return out


def _object(command: list[str], scratch: Path, name: str) -> Path | None:
    """The object of one variant; None where the compiler is older than its instructions."""
    out = scratch / f"{name}.o"
    try:
        run([*command, *FLAGS, *VARIANTS[name], f"-DDOVETAIL_VARIANT={name}",
             "-c", str(HERE / SOURCES[0]), "-o", str(out)])  # fmt: skip
    except RefusedError:
        if name == "portable":
            raise
        return None
    return out
