"""Designs in a checkout of HLS sources: what its project files name, and what looks like a kernel where there is none.

Known layouts: a ``run_hls.tcl`` or ``hls_config.cfg`` beside each design (Vitis HLS introductory examples; some of
MachSuite), a C file with a header that has a ``run_benchmark`` (MachSuite), one source a platform under ``src``
(Rosetta), one file a problem in ``reference_design`` (Bench4HLS), and any file with ``#pragma HLS``.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from dovetail.core.errors import DovetailError

SOURCES = (".cpp", ".cc", ".cxx", ".c")
LONGEST = 1 << 20  # bytes of a file that is read
_LOCAL = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)".*$', re.MULTILINE)
_PRAGMA = re.compile(r"#\s*pragma\s+HLS|_Pragma\s*\(\s*\"HLS", re.IGNORECASE)
_MAIN = re.compile(r"\bmain\s*\(")
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True, slots=True)
class Found:
    """A design of a checkout: its name there, its files, its top ("" where nothing says it), its include folders."""

    name: str
    files: tuple[Path, ...]
    top: str = ""
    includes: tuple[Path, ...] = ()


def designs_of(root: Path) -> dict[str, tuple[str, str]]:
    """Name → (text with the checkout's own headers in it, top) of every design under a folder.

    Raises
    ------
    DovetailError
        No such folder, or nothing there that looks like HLS.
    """
    if not root.is_dir():
        raise DovetailError("no such folder", where=str(root))
    headers = _headers(root)
    out: dict[str, tuple[str, str]] = {}
    for found in _found(root):
        seen: set[Path] = set()
        parts = [_inlined(_read(file), file.parent, root, found.includes, headers, seen) for file in found.files]
        out.setdefault(found.name, ("\n".join(parts), found.top))
    if not out:
        raise DovetailError("no HLS sources here", where=str(root),
                            why="no project file, no C++ file with '#pragma HLS', no known layout")  # fmt: skip
    return out


def _found(root: Path) -> Iterator[Found]:
    taken: set[Path] = set()
    projects = [p for p in sorted(root.rglob("*")) if p.suffix in (".cfg", ".tcl") and p.is_file()]
    for file in projects:
        made = (_config if file.suffix == ".cfg" else _script)(file, root)
        if made is not None and not taken & set(made.files):
            taken |= set(made.files)
            yield made
    for file in sorted(p for p in root.rglob("*") if p.suffix in SOURCES and p.is_file()):
        if file not in taken and file.stat().st_size < LONGEST and _kernel(file):
            yield Found(str(file.relative_to(root)), (file,), _top_beside(file))


def _config(file: Path, root: Path) -> Found | None:
    """What an ``hls_config.cfg`` says: ``syn.file``, ``syn.top``, ``syn.cflags``."""
    said = re.findall(r"^\s*(syn\.\w+)\s*=\s*(.*?)\s*$", _read(file), re.MULTILINE)
    files = [value for key, value in said if key == "syn.file"]
    flags = [word for key, value in said if key in ("syn.cflags", "syn.csimflags") for word in value.split()]
    return _project(file, root, files, next((value for key, value in said if key == "syn.top"), ""), flags)


def _script(file: Path, root: Path) -> Found | None:
    """What a Tcl script says: ``add_files`` without ``-tb``, ``set_top``, ``-cflags``, variables that ``set`` gives."""
    text = re.sub(r"\\\n", " ", _read(file))
    known = dict(re.findall(r'^\s*set\s+(\w+)\s+"?([^"\s\[]+)"?\s*$', text, re.MULTILINE))
    files: list[str] = []
    flags: list[str] = []
    top = ""
    for line in text.splitlines():
        words = _words(_VARIABLE.sub(lambda m: known.get(m[1], m[0]), line))
        if words[:1] == ["add_files"] and "-tb" not in words:
            for before, word in pairwise(words):
                if before.endswith("flags"):
                    flags += word.split()
                elif not word.startswith("-"):
                    files += word.split()
        elif words[:1] == ["set_top"] and len(words) > 1:
            top = words[1]
    return _project(file, root, files, top, flags)


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line.replace("{", '"').replace("}", '"'), comments=True)
    except ValueError:
        return line.split()


def _project(file: Path, root: Path, named: Sequence[str], top: str, flags: Sequence[str]) -> Found | None:
    inside = root.resolve()
    places = [(file.parent / name).resolve() for name in named]
    files = [p for p in places if p.suffix in SOURCES and p.is_file() and p.is_relative_to(inside)]
    if not files:
        return None
    folders = [(file.parent / flag[2:]).resolve() for flag in flags if flag.startswith("-I") and len(flag) > 2]
    name = str(file.parent.relative_to(root))
    kept = tuple(folder for folder in folders if folder.is_relative_to(inside))
    return Found(name if name != "." else file.stem, tuple(dict.fromkeys(files)), top, kept)


def _kernel(file: Path) -> bool:
    """Whether a source without a project file is a kernel."""
    text = _read(file)
    if _MAIN.search(text):
        return False
    if _PRAGMA.search(text):
        return True
    return file.parent.name == "reference_design" or bool(_top_beside(file))


def _top_beside(file: Path) -> str:
    """The function of a file that a header beside it calls in a ``run_benchmark``."""
    headers = [file.with_suffix(".h"), *sorted(file.parent.glob("*.h"))]
    for header in headers:
        text = _read(header) if header.is_file() else ""
        _, found, body = text.partition("run_benchmark")
        for called in re.findall(r"\b(\w+)\s*\(", body if found else ""):
            if called != "sizeof" and re.search(rf"\b{called}\s*\([^;{{]*\)\s*{{", _read(file)):
                return str(called)
    return ""


def _read(file: Path) -> str:
    return file.read_text(errors="replace")


def _headers(root: Path) -> dict[str, list[Path]]:
    """Every header of a checkout by its file name."""
    out: dict[str, list[Path]] = {}
    for path in sorted(root.rglob("*")):
        if path.suffix in (".h", ".hpp", ".hh") and path.is_file():
            out.setdefault(path.name, []).append(path)
    return out


def _inlined(
    text: str, at: Path, root: Path, includes: Sequence[Path], headers: dict[str, list[Path]], seen: set[Path]
) -> str:
    """The text with the checkout's own headers in place of their includes, each once."""

    def one(found: re.Match[str]) -> str:
        header = _header(found[1], at, root, includes, headers)
        if header is None:
            return found[0]
        if header in seen:
            return ""
        seen.add(header)
        return _inlined(_read(header), header.parent, root, includes, headers, seen)

    return _LOCAL.sub(one, text)


def _header(name: str, at: Path, root: Path, includes: Sequence[Path], headers: dict[str, list[Path]]) -> Path | None:
    """Where an include leads: beside the text, in the include folders, under the root; else the nearest so called."""
    for base in (at, *includes, root):
        path = (base / name).resolve()
        if path.is_file() and path.is_relative_to(root.resolve()):
            return path
    near = headers.get(Path(name).name, [])
    best = max(near, key=lambda path: len(os.path.commonpath([path, at])), default=None)
    return best.resolve() if best is not None else None
