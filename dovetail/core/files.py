"""Files are written beside their place and renamed, so that a full disk or Ctrl-C leaves nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.unfinished import OLD, part_of, remove, sweep


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
    """Write `data` to `path` in one step. Raises `DovetailError` when the disk refuses.

    What a killed process left of its own unfinished file for the same `path` is removed too.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        sweep(target)
        with part_of(target) as part:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(part, 0o644)
            os.replace(part, target)
    except OSError as error:
        raise _failed(target, error) from error
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
        sweep(target)
        with part_of(target, folder=True) as part:
            yield part
            part.chmod(0o755)
            _take_place(part, target)
    except OSError as error:
        raise _failed(target, error) from error


def _take_place(part: Path, target: Path) -> None:
    """Put a finished folder where it belongs; an old one is put back where that fails, else removed."""
    old = part.with_name(part.name + OLD)
    if target.exists():
        os.replace(target, old)
    try:
        os.replace(part, target)
    except BaseException:
        if old.exists():
            os.replace(old, target)
        raise
    remove(old)
