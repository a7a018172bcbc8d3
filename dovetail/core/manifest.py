"""The manifest of a result: which code, on what, with which seeds, so that a number can be made again."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from dovetail.core.errors import DovetailError
from dovetail.core.files import check_ours, write_json
from dovetail.core.version import __version__

RESULTS = ("manifest.json", "result.json", "report.html")  # what `--out` keeps of an answer
_CHUNK = 1 << 20
_LIBRARIES = ("numpy", "torch", "transformers", "compressed_tensors", "safetensors")


def file_hash(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file, read in pieces. Raises `DovetailError` when it cannot be read."""
    sink = hashlib.sha256()
    try:
        with Path(path).open("rb") as file:
            while piece := file.read(_CHUNK):
                sink.update(piece)
    except OSError as error:
        raise DovetailError(f"could not read {Path(path).name}", where=str(path), why=error.strerror or "") from error
    return sink.hexdigest()


def _files(inputs: Iterable[str | os.PathLike[str]]) -> Iterable[Path]:
    for given in map(Path, inputs):
        yield from sorted(p for p in given.rglob("*") if p.is_file()) if given.is_dir() else (given,)


def _version(library: str) -> str:
    version = getattr(sys.modules[library], "__version__", None)  # torch says +cpu here and not in its metadata
    return str(version or metadata.version(library))


def versions() -> dict[str, str]:
    """Versions of dovetail, Python and the numerical libraries this process has loaded; none is loaded for it."""
    loaded = {name: _version(name) for name in _LIBRARIES if name in sys.modules}
    return {"dovetail": __version__, "python": platform.python_version(), **loaded}


def _git(folder: Path, *arguments: str) -> str:
    # without optional locks: a `status` that is cut off must not leave the user's index locked
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def git_revision(folder: Path | None = None) -> dict[str, Any] | None:
    """Commit of the checkout this package runs from and whether it has changes; None when there is no checkout."""
    folder = folder or Path(__file__).parents[2]
    if not (folder / ".git").exists():
        return None
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": changed}


def manifest(
    command: str,
    inputs: Iterable[str | os.PathLike[str]] = (),
    seeds: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """What it takes to make a result again, as plain data for JSON.

    Parameters
    ----------
    command : str
        The command line, or the call, that made the result.
    inputs : iterable of paths
        Files that were read; a folder stands for every file in it.
    seeds : mapping of str to int
        Random seeds by purpose.

    Raises
    ------
    DovetailError
        An input file cannot be read.
    """
    return {
        "command": command,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "git": git_revision(),
        "platform": {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count()},
        "seeds": dict(seeds or {}),
        "inputs": {str(path): file_hash(path) for path in _files(inputs)},
    }


def check_results(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder whose results (`RESULTS`) are not ours to replace, for no manifest of dovetail vouches for them.

    Raises `DovetailError`; nothing is changed.
    """
    target = Path(folder).expanduser()
    check_ours(target, None)
    held = [name for name in RESULTS if os.path.lexists(target / name)]
    if held and not _vouched(target / "manifest.json"):
        why = "no manifest.json of dovetail is beside it"
        hint = "a new folder, or one that dovetail wrote"
        raise DovetailError(f"holds another {held[0]}", where=str(target), why=why, hint=hint)


def _vouched(path: Path) -> bool:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    named = found.get("versions") if isinstance(found, dict) else None
    return isinstance(named, dict) and "dovetail" in named


def write_manifest(
    folder: str | os.PathLike[str],
    command: str,
    inputs: Iterable[str | os.PathLike[str]] = (),
    seeds: Mapping[str, int] | None = None,
) -> Path:
    """Write `manifest` as ``manifest.json`` into `folder`; returns its path."""
    return write_json(Path(folder) / "manifest.json", manifest(command, inputs, seeds))
