"""Compile the kernels with the C++ compiler of this computer: at install, or when they are first used.

One object for each instruction set and one library that holds them all and chooses when it runs. Its name carries a
hash of the sources, so a library of other sources is never loaded. Standard library only: the build backend runs this
file by its path.
"""

from __future__ import annotations

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
_DOORS = ("products", "attention", "step", "guess")  # compiled once
_HEADERS = ("kernels.h", "lanes.h", "attend.h", "threads.h", "doors.h", "step.h")
SOURCES = (*_HEADERS, "tiles.cpp", *(f"{door}.cpp" for door in _DOORS))
FLAGS = ("-std=c++17", "-O3", "-fPIC", "-pthread", "-ffp-contract=off", "-fvisibility=hidden")
_AVX2 = ("-mavx2", "-mfma")
VARIANTS = {  # beside the portable one, on x86-64
    "avx2": _AVX2,
    "avxvnni": (*_AVX2, "-mavxvnni"),
    "avx512": (*_AVX2, "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"),
}
_USES = {  # an instruction of each: compilers may know a flag that their assemblers do not
    "avx2": "__m256i f(__m256i a) { return _mm256_add_epi8(a, a); }",
    "avxvnni": "__m256i f(__m256i a) { return _mm256_dpbusd_avx_epi32(a, a, a); }",
    "avx512": "__m512i f(__m512i a) { return _mm512_dpbusd_epi32(a, a, a); }",
}
_LIMIT_S = 300


class CannotBuildError(Exception):
    """The reason why there is no library, as a clause."""


class RefusedError(CannotBuildError):
    """The compiler ended by itself and said no."""


def file_name() -> str:
    """Name of the library of these sources on this kind of computer."""
    sink = hashlib.sha256(repr((FLAGS, VARIANTS)).encode())
    for name in SOURCES:
        sink.update((HERE / name).read_bytes())
    return f"kernels-{platform.system().lower()}-{platform.machine()}-{sink.hexdigest()[:12]}.so"


def compiler() -> list[str]:
    """The C++ compiler: ``$CXX``, else g++, c++ or clang++.

    Raises
    ------
    CannotBuildError
        There is none, or ``$CXX`` is no command line or names no program.
    """
    text = os.environ.get("CXX", "")
    try:
        given = shlex.split(text)
    except ValueError as error:
        raise CannotBuildError(f"CXX is no command: {text!r} ({error})") from None
    for command in [given] if given else [["g++"], ["c++"], ["clang++"]]:
        if shutil.which(command[0]):
            return command
    what = f"CXX names {given[0]!r}, which is no program here" if given else "no C++ compiler is on the PATH"
    raise CannotBuildError(what)


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
    """Hold a file's lock; where a system has none, processes may compile twice, and the last to finish is loaded."""
    try:
        import fcntl
    except ImportError:
        yield
        return
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
    known, out = [f"-DHAVE_{name}" for name in objects], scratch / "kernels.so"
    doors = [scratch / f"{name}.o" for name in _DOORS]
    for door in doors:
        _run([*command, *FLAGS, *known, "-c", str(HERE / f"{door.stem}.cpp"), "-o", str(door)])
    _run([*command, "-shared", "-pthread", *map(str, (*doors, *objects.values())), "-o", str(out)])
    return out


def _object(command: list[str], scratch: Path, name: str, flags: tuple[str, ...]) -> Path | None:
    """The object of one variant; None where the compiler is older than its instructions."""
    if name in _USES and not _knows(command, scratch, name, flags):
        return None
    out = scratch / f"{name}.o"
    _run([*command, *FLAGS, *flags, f"-DDOVETAIL_VARIANT={name}", "-c", str(HERE / "tiles.cpp"), "-o", str(out)])
    return out


def _knows(command: list[str], scratch: Path, name: str, flags: tuple[str, ...]) -> bool:
    """Whether a compiler takes an instruction of a variant, in a source that can fail of nothing else."""
    source = scratch / f"{name}.cpp"
    source.write_text(f"#include <immintrin.h>\n{_USES[name]}\n")
    try:
        _run([*command, *FLAGS, *flags, "-c", str(source), "-o", str(source.with_suffix(".known"))])
    except RefusedError:
        return False
    return True


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CannotBuildError(f"{command[0]} did not end within {_LIMIT_S} s") from None
    if done.returncode < 0:
        raise CannotBuildError(f"{command[0]} was ended by signal {-done.returncode}")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise RefusedError(f"{command[0]} failed: {lines[0][:200]}")
