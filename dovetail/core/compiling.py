"""C++ of our own, compiled with the compiler of this computer: once, whoever asks. Standard library only."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LIMIT_S = 300
_SCRATCH = ".part-"


class CannotBuildError(Exception):
    """The reason why there is no library, as a clause."""


class RefusedError(CannotBuildError):
    """The compiler ended by itself and said no."""


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


def build_once(target: Path, make: Callable[[list[str], Path], Path]) -> Path:
    """`target`, made by ``make(compiler, scratch folder)`` unless it is there.

    Several processes may ask at once: one compiles, under a lock that the kernel drops with the process that held it,
    and the finished file is moved to its place, so that a compile that is killed leaves nothing to wait for or to load.

    Raises
    ------
    CannotBuildError
        No compiler, one that fails, or a folder that cannot be written.
    """
    if target.is_file():
        return target
    found, folder = compiler(), target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / ".lock") as alone, tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as scratch:
            for left in folder.glob(f"{_SCRATCH}*") if alone else ():
                if left != Path(scratch):  # of a compile that was killed: the lock is ours
                    shutil.rmtree(left, ignore_errors=True)
            if not target.is_file():
                os.replace(make(found, Path(scratch)), target)
    except OSError as error:
        raise CannotBuildError(f"{error.filename or folder}: {error.strerror or error}") from error
    return target


def run(command: list[str]) -> None:
    """Run a compiler. Raises `RefusedError` with its first error, `CannotBuildError` where it did not end by itself."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise CannotBuildError(f"{command[0]} did not end within {_LIMIT_S} s") from None
    if done.returncode < 0:
        raise CannotBuildError(f"{command[0]} was ended by signal {-done.returncode}")
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise RefusedError(f"{command[0]} failed: {lines[0][:200]}")


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Hold a file's lock; where there are none (False), processes may compile twice: the last to finish is loaded."""
    try:
        import fcntl
    except ImportError:
        yield False
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield True
