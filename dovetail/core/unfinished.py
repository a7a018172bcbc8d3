"""Unfinished files and folders: held by the process that makes them, so that others can tell what a killed one left.

They lie beside their target as ``.NAME.part-XXXXXXXX``. The kernel drops the lock of a process with the process, on
whatever computer of a shared disk it ran: what nobody holds is nobody's, and the next who makes that target removes it.
"""

from __future__ import annotations

import errno
import glob
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

_PART, _RANDOM = "part-", "?" * 8  # tempfile adds eight characters
_ATTEMPTS = 3
OLD = ".old"  # what an old folder is called while the new one takes its place


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a folder or file for this process until the block, or the process, ends; False where another one holds it.

    The block gets True where a system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


@contextmanager
def part_of(target: Path, *, folder: bool = False) -> Iterator[Path]:
    """A new unfinished file or folder for `target`, held; what is left of it at the end of the block is removed."""
    for attempt in range(_ATTEMPTS):
        part = _made(target, folder)
        with ExitStack() as stack:
            try:
                ours = stack.enter_context(held(part))
            except FileNotFoundError:  # a sweep came between the making and the holding
                continue
            if part.exists() and (ours or attempt == _ATTEMPTS - 1):  # else a sweep holds it; or no disk locks here
                try:
                    yield part
                finally:
                    remove(part)
                return
            remove(part)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(target))


def _made(target: Path, folder: bool) -> Path:
    prefix = f".{target.name}.{_PART}"
    if folder:
        return Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
    handle, path = tempfile.mkstemp(prefix=prefix, dir=target.parent)
    os.close(handle)
    return Path(path)


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there and can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def sweep(target: Path) -> None:
    """Remove what killed processes left unfinished for `target`: what nobody holds.

    One that was killed between moving an old folder aside and putting the new one in its place has lost neither: the
    old one is put back.
    """
    if sys.platform == "win32":
        return
    name = f".{glob.escape(target.name)}.{_PART}{_RANDOM}"
    for part in target.parent.glob(name):
        with suppress(OSError), held(part) as ours:
            if ours:
                _put_back(part, target)
                for scratch in target.parent.glob(f"{glob.escape(part.name)}.{_RANDOM}"):
                    remove(scratch)
                remove(part)
    for old in target.parent.glob(name + OLD):
        if not old.with_name(old.name.removesuffix(OLD)).exists():  # else its maker holds that, or it was put back
            remove(old)


def _put_back(part: Path, target: Path) -> None:
    old = part.with_name(part.name + OLD)
    if old.exists() and not os.path.lexists(target):
        os.replace(old, target)
