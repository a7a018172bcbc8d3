"""Compile the kernels with the C++ compiler of this computer: at install, or when they are first used.

Objects for each instruction set and one library that holds them all and chooses when it runs. Its name carries a
hash of the sources, so a library of other sources is never loaded. Standard library only, what is imported too: the
build backend runs this file by its path.
"""

from __future__ import annotations

import hashlib
import os
import platform
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dovetail.core.compiling import CannotBuildError as CannotBuildError
from dovetail.core.compiling import RefusedError, build_once, run
from dovetail.core.compiling import compiler as compiler

HERE = Path(__file__).parent
_DOORS = ("products", "attention", "step", "guess")  # compiled once
_PARTS = {"tiles": "-O2", "heads": "-O2", "loops": "-O3"}  # for each instruction set; vectors are written out in two
_HEADERS = ("kernels.h", "lanes.h", "variant.h", "threads.h", "team.h", "doors.h", "step.h")
SOURCES = (*_HEADERS, *(f"{name}.cpp" for name in (*_PARTS, *_DOORS)))
FLAGS = ("-std=c++17", "-fPIC", "-pthread", "-ffp-contract=off", "-fvisibility=hidden")
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


def file_name() -> str:
    """Name of the library of these sources on this kind of computer."""
    sink = hashlib.sha256(repr((FLAGS, VARIANTS, _PARTS)).encode())
    for name in SOURCES:
        sink.update((HERE / name).read_bytes())
    return f"kernels-{platform.system().lower()}-{platform.machine()}-{sink.hexdigest()[:12]}.so"


def build(folder: Path) -> Path:
    """The library in `folder`, compiled unless it is there (`core.compiling.build_once`).

    Raises
    ------
    CannotBuildError
        No compiler, one that fails, or a folder that cannot be written.
    """
    return build_once(folder / file_name(), _compiled)


def _compiled(command: list[str], scratch: Path) -> Path:
    variants: dict[str, tuple[str, ...]] = {"portable": ()}
    if platform.machine() in ("x86_64", "AMD64"):
        variants |= VARIANTS
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        known = pool.map(lambda name: _knows(command, scratch, name, variants[name]), variants)
        variants = {name: flags for (name, flags), one in zip(variants.items(), known, strict=True) if one}
        have, out = [f"-DHAVE_{name}" for name in variants], scratch / "kernels.so"
        jobs = [
            (part, f"{name}-{part}", [level, *flags, f"-DDOVETAIL_VARIANT={name}"])
            for part, level in _PARTS.items()
            for name, flags in reversed(variants.items())  # those that take longest first
        ]
        jobs += [(door, door, ["-O2", *have]) for door in _DOORS]
        objects = list(pool.map(lambda job: _object(command, scratch, *job), jobs))
    links = ["-ldl"] if platform.system() == "Linux" else []  # a library of its own before glibc 2.34
    run([*command, "-shared", "-pthread", *map(str, objects), *links, "-o", str(out)])
    return out


def _object(command: list[str], scratch: Path, source: str, name: str, flags: list[str]) -> Path:
    out = scratch / f"{name}.o"
    run([*command, *FLAGS, *flags, "-c", str(HERE / f"{source}.cpp"), "-o", str(out)])
    return out


def _knows(command: list[str], scratch: Path, name: str, flags: tuple[str, ...]) -> bool:
    """Whether a compiler takes an instruction of a variant, in a source that can fail of nothing else."""
    if name not in _USES:
        return True
    source = scratch / f"{name}.cpp"
    source.write_text(f"#include <immintrin.h>\n{_USES[name]}\n")
    try:
        run([*command, *FLAGS, *flags, "-c", str(source), "-o", str(source.with_suffix(".known"))])
    except RefusedError:
        return False
    return True
