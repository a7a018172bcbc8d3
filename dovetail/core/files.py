"""Files are written beside their place and renamed, so that a full disk or Ctrl-C leaves nothing half-written."""

from __future__ import annotations

import glob
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError


def cache_folder() -> Path:
    """Where measurements of this computer are kept: ``$XDG_CACHE_HOME/dovetail``, else ``~/.cache/dovetail``."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dovetail"


def _failed(path: Path, error: OSError) -> DovetailError:
    return DovetailError(
        f"could not write {path.name}",
        where=str(path.parent),
        why=error.strerror or str(error),
        hint="free some space or give another --out; nothing was left half-written",
    )


def read_text(path: Path, what: str = "the text", hint: str = "a UTF-8 text file") -> str:
    """A file as UTF-8 text. Raises `DovetailError` when it cannot be read, which says what it was to be."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DovetailError(f"cannot read {what}", where=str(path), why=why, hint=hint) from error


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write `text` to `path` in one step: the old file stays until the new one is complete."""
    return write_bytes(path, text.encode())


def write_bytes(path: str | os.PathLike[str], data: bytes) -> Path:
    """Write `data` to `path` in one step. Raises `DovetailError` when the disk refuses."""
    target = Path(path)
    part: str | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, target)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        if part and os.path.exists(part):
            os.unlink(part)
    return target


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """`write_text` of indented JSON with sorted keys left as given; NaN and infinity are refused."""
    return write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def emptied(folder: Path) -> Path:
    """The folder, with nothing left in it."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return folder


def check_ours(target: Path, mark: str | None) -> None:
    """Refuse to replace a file, or a folder that holds something and lacks the file `mark`. Raises `DovetailError`."""
    foreign = target.is_dir() and mark is not None and any(target.iterdir()) and not (target / mark).is_file()
    if foreign or (target.exists() and not target.is_dir()):
        hint = "a new folder, or one that dovetail wrote"
        raise DovetailError("exists and was not written by dovetail", where=str(target), hint=hint)


def check_apart(source: Path, target: Path) -> None:
    """Refuse a `target` that is, or holds, the `source` it is made from: replacing it would lose the source.

    Raises `DovetailError`.
    """
    if source.resolve().is_relative_to(target.expanduser().resolve()):
        raise DovetailError("would overwrite its own source", where=str(target), hint="another --out")


@contextmanager
def held(folder: Path) -> Iterator[bool]:
    """Hold a folder for this process until the block, or the process, ends; False where another one holds it.

    The block gets True where a system has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield True
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _sweep(target: Path) -> None:
    """Remove what killed processes left of their unfinished folders for `target`: those that nobody holds."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{_PART}{'?' * _RANDOM}"):
        with suppress(OSError), held(left) as ours:
            if ours and sys.platform != "win32":
                for each in (*left.parent.glob(f"{glob.escape(left.name)}.{'?' * _RANDOM}"), left):
                    shutil.rmtree(each, ignore_errors=True)


_PART, _RANDOM = "part-", 8  # what unfinished folders are called: mkdtemp adds eight characters


@contextmanager
def whole_folder(path: str | os.PathLike[str], mark: str | None = None) -> Iterator[Path]:
    """A folder that appears at `path` only when the block ends well; an old one is replaced, a failed one removed.

    What a killed process left of its own unfinished folder for the same `path` is removed too.

    Parameters
    ----------
    mark : str
        Name of a file by which our own folders are known: one that has other content and no such file is not touched.

    Raises
    ------
    DovetailError
        `path` is a file or somebody else's folder, before the block begins; or the disk refuses.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))  # a link stays a link: what it leads to is replaced
    check_ours(target, mark)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}.{_PART}", dir=target.parent))
    except OSError as error:
        raise _failed(target, error) from error
    try:
        with held(part):
            yield part
        part.chmod(0o755)
        old = part.with_name(part.name + ".old")
        if target.exists():
            os.replace(target, old)
        try:
            os.replace(part, target)
        except BaseException:
            if old.exists():
                os.replace(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise _failed(target, error) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
