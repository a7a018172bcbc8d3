"""Compile the kernels with the C++ compiler of this computer: at install, or when they are first used.

One object for each instruction set and one library that holds them all and chooses when it runs. Its name carries a
hash of the sources, so a library of other sources is never loaded. Standard library only: the build backend runs this
file by its path.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = ("kernels.h", "lanes.h", "threads.h", "tiles.cpp", "products.cpp")
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-pthread", "-ffp-contract=off", "-fvisibility=hidden")
_AVX2 = ("-mavx2", "-mfma")
VARIANTS = {  # beside the portable one, on x86-64
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-mavxvnni"),
    "avx512": (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"),
}
_LIMIT_S = 300


class CannotBuildError(Exception):
    """The reason why there is no library, as a clause."""


def file_name() -> str:
    """Name of the library of these sources on this kind of computer."""
    sink = hashlib.sha256(" ".join(FLAGS).encode())
    for name in SOURCES:
        sink.update((HERE / name).read_bytes())
    return f"kernels-{platform.system().lower()}-{platform.machine()}-{sink.hexdigest()[:12]}.so"


def compiler() -> list[str] | None:
    """The C++ compiler: ``$CXX``, else g++, c++ or clang++; None where there is none."""
    given = shlex.split(os.environ.get("CXX", ""))
    for command in [given] if given else [["g++"], ["c++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    return None


def build(folder: Path) -> Path:
    """The library in `folder`, compiled unless it is there.

    Several processes may ask at once: one compiles, under a lock that the kernel drops with the process that held it,
    and the finished file is moved to its place, so that a compile that is killed leaves nothing to wait for or to load.

    Raises
    ------
    CannotBuildError
        No compiler, one that fails, or a folder that cannot be written.
    """
    target = folder / file_name()
    if target.is_file():
        return target
    found = compiler()
    if found is None:
        raise CannotBuildError("no C++ compiler is on the PATH")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock"), tempfile.TemporaryDirectory(prefix=".part-", dir=folder) as scratch:
            if not target.is_file():
                os.replace(_compiled(found, Path(scratch)), target)
    except OSError as error:
        raise CannotBuildError(f"{error.filename or folder}: {error.strerror or error}") from error
    return target


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compiled(command: list[str], scratch: Path) -> Path:
    variants: dict[str, tuple[str, ...]] = {"portable": ()}
    if platform.machine() in ("x86_64", "AMD64"):
        variants |= VARIANTS
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        made = pool.map(lambda name: _object(command, scratch, name, variants[name]), variants)
    objects = {name: found for name, found in zip(variants, made) if found is not None}
    main, out = scratch / "products.o", scratch / "kernels.so"
    known = [f"-DHAVE_{name}" for name in objects]
    _run([*command, *FLAGS, *known, "-c", str(HERE / "products.cpp"), "-o", str(main)])
    _run([*command, "-shared", "-pthread", str(main), *map(str, objects.values()), "-o", str(out)])
    return out


def _object(command: list[str], scratch: Path, name: str, flags: tuple[str, ...]) -> Path | None:
    """The object of one variant; None where the compiler is older than its instructions."""
    out = scratch / f"{name}.o"
    try:
        _run([*command, *FLAGS, *flags, f"-DDOVETAIL_VARIANT={name}", "-c", str(HERE / "tiles.cpp"), "-o", str(out)])
    except CannotBuildError:
        if not flags:
            raise
        return None
    return out


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CannotBuildError(f"{command[0]} did not end within {_LIMIT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise CannotBuildError(f"{command[0]} failed: {lines[0][:200]}")
