"""g++ over foreign text, in the sandbox: which flags, which headers, and what the compiler said about which line."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError
from dovetail.core.files import cache_folder
from dovetail.hls.headers import SHIMS, include_path
from dovetail.hls.sandbox import Limits, Ran, run

STANDARD = "-std=c++17"
LIMITS = Limits(wall_s=40.0, cpu_s=40.0, memory=3 << 30, output=4 << 20)
PRELUDE = (
    "ap_int.h",
    "ap_fixed.h",
    "hls_stream.h",
    "ap_axi_sdata.h",
    "hls_math.h",
    "hls_vector.h",
    "dovetail_driver.h",
)
SYSTEM = ("algorithm", "cmath", "cstdint", "cstdio", "cstdlib", "cstring", "cassert", "iostream", "string")
_MISSING = re.compile(r"^\s*#\s*include\s*([<\"])([^>\"\n]+)[>\"]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Build:
    """How a translation unit is compiled.

    Parameters
    ----------
    optimise : str
        ``"-O0"``, ``"-O1"``, …
    sanitize : tuple of str
        Of ``address``, ``undefined``, …: the program stops at the first fault.
    init : {"", "zero", "pattern"}
        What automatic variables without an initialiser hold; "" for whatever was there.
    counted : bool
        Whether each basic block calls ``__sanitizer_cov_trace_pc``: steps and executed lines for one build.
    debug : bool
        Line numbers for sanitizers and for addresses.
    extra : tuple of str
        Further flags.
    """

    optimise: str = "-O1"
    sanitize: tuple[str, ...] = ()
    init: str = ""
    counted: bool = False
    debug: bool = False
    extra: tuple[str, ...] = ()

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags that a precompiled header must share."""
        out = [
            STANDARD,
            self.optimise,
            "-ffp-contract=off",
            "-fno-finite-loops",
            "-flifetime-dse=0" if self.init else "",  # else a constructor that sets nothing undoes the filling
            "-fwrapv" if not self.sanitize else "",
        ]
        out += [f"-fsanitize={','.join(self.sanitize)}"] if self.sanitize else []
        out += ["-fno-sanitize-recover=all", "-fno-omit-frame-pointer"] if self.sanitize else []
        out += [f"-ftrivial-auto-var-init={self.init}"] if self.init else []
        out += ["-fsanitize-coverage=trace-pc"] if self.counted else []
        out += ["-g1"] if self.debug else []
        return tuple(flag for flag in (*out, *self.extra) if flag)


FAST = Build("-O1")
FAULTS = ("address", "bounds", "shift-exponent", "integer-divide-by-zero", "return", "unreachable", "bool")
PROBE = Build("-O1", FAULTS, "pattern", counted=True, debug=True)
ZEROED = Build("-O1", init="zero", counted=True)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message of the compiler: `level` is error, warning or note; `option` the warning's flag."""

    file: str
    line: int
    column: int
    level: str
    message: str
    option: str = ""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What came of a compilation: the output file when it went through, and what was said."""

    output: Path | None
    diagnostics: tuple[Diagnostic, ...] = ()
    missing: tuple[str, ...] = ()
    ran: Ran | None = field(default=None, repr=False)

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The messages that kept it from compiling."""
        return tuple(d for d in self.diagnostics if d.level in ("error", "fatal error"))


@cache
def compiler(name: str = "g++") -> str:
    """The full path of g++ (or gcov, addr2line). Raises `DovetailError` where there is none."""
    path = shutil.which(name)
    if path is None:
        raise DovetailError(f"no {name} on the PATH", why="HLS code is checked by compiling and running it",
                            hint="apt install g++ (12 or newer)")  # fmt: skip
    return os.path.realpath(path) if name != "g++" else path


def compile_to(
    source: Path,
    output: Path,
    build: Build,
    *,
    includes: Sequence[Path] = (),
    prelude: bool = True,
    warnings: Sequence[str] = ("-w",),
    defines: Sequence[str] = (),
    limits: Limits = LIMITS,
    bare: bool = True,
) -> Compiled:
    """Compile one file of a `workplace` to an object file, with the HLS headers on the search path.

    Parameters
    ----------
    source, output : Path
        Both in the same workplace.
    build : Build
        Flags.
    includes : sequence of Path
        Folders searched after the source's own; the compiler may read nothing else.
    prelude : bool
        Whether to start from the precompiled HLS headers: six times faster, and forgiving about a forgotten include.
        Text that does not compile with them is tried again without, where `bare` is set.
    warnings, defines : sequence of str
        ``-W…`` and ``-D…`` flags.

    Raises
    ------
    DovetailError
        No compiler, no open headers, or no sandbox; a text that does not compile is no error here.
    """
    done = _compile(source, output, build, includes, prelude, (*warnings, *defines), limits)
    if prelude and bare and done.output is None and not (done.ran and done.ran.stopped):
        alone = _compile(source, output, build, includes, False, (*warnings, *defines), limits)
        done = alone if alone.output or len(alone.errors) < len(done.errors) else done
    return done


def _compile(
    source: Path,
    output: Path,
    build: Build,
    includes: Sequence[Path],
    prelude: bool,
    more: Sequence[str],
    limits: Limits,
) -> Compiled:
    headers = include_path()
    folders = [f"-I{folder}" for folder in (source.parent, *headers, *includes)]
    first = precompiled(build) if prelude else None
    before = ["-include", str(first)] if first else []
    ends = ["-fdiagnostics-format=json", "-c", str(source), "-o", str(output)]
    command: list[str | Path] = [compiler(), *build.flags, *more, *folders, *before, *ends]
    ran = run(command, source.parent, limits, show=[*headers, *includes, *([first.parent] if first else [])],
              reader=True)  # fmt: skip
    output_there = ran.ok and output.is_file()
    return Compiled(output if output_there else None, tuple(diagnostics(ran.err)), ran=ran)


def link(objects: Sequence[Path], output: Path, build: Build, limits: Limits = LIMITS) -> Compiled:
    """Link object files of one workplace, and cached ones, to a program."""
    flags = [f"-fsanitize={','.join(build.sanitize)}"] if build.sanitize else []
    show = [path for path in objects if path.parent != output.parent]
    command: list[str | Path] = [compiler(), *flags, *objects, "-o", output]
    ran = run(command, output.parent, limits, show=show)
    said = () if ran.ok else (Diagnostic("", 0, 0, "error", _undefined(ran.err)),)
    return Compiled(output if ran.ok and output.is_file() else None, said, ran=ran)


def _undefined(text: str) -> str:
    names = list(dict.fromkeys(re.findall(r"undefined reference to `([^']+)'", text)))
    if names:
        return "declared but defined nowhere: " + ", ".join(names[:5])
    return " ".join(text.split())[-300:] or "the linker said nothing"


def diagnostics(text: str) -> Iterator[Diagnostic]:
    """The messages in g++'s JSON output; other lines (a crash of the compiler) become one error each."""
    for line in text.splitlines():
        if not line.startswith("["):
            if "error" in line.lower():
                yield Diagnostic("", 0, 0, "error", line.strip()[:300])
            continue
        try:
            items = json.loads(line)
        except ValueError:
            continue
        yield from (_diagnostic(item) for item in items)


def _diagnostic(item: dict[str, object]) -> Diagnostic:
    places = item.get("locations")
    caret = places[0].get("caret", {}) if isinstance(places, list) and places else {}
    where = str(caret.get("file", "")), int(caret.get("line", 0)), int(caret.get("column", 0))
    return Diagnostic(*where, str(item.get("kind", "error")), str(item.get("message", "")), str(item.get("option", "")))


def missing_includes(source: str, folders: Sequence[Path]) -> tuple[str, ...]:
    """Headers a text includes that neither the compiler, the HLS headers nor `folders` have."""
    where = (*folders, *include_path(), *system_folders())
    named = dict.fromkeys(match[2].strip() for match in _MISSING.finditer(source))
    return tuple(name for name in named if not any((folder / name).is_file() for folder in where))


@cache
def system_folders() -> tuple[Path, ...]:
    """Where g++ looks for its own headers."""
    said = subprocess.run(
        [compiler(), "-E", "-x", "c++", "-v", "/dev/null"], capture_output=True, text=True, check=False
    )
    part = said.stderr.partition("search starts here:\n#include <...>")[2].partition("End of search")[0]
    lines = part or said.stderr.partition("<...> search starts here:")[2].partition("End of search")[0]
    return tuple(Path(line.strip()) for line in lines.splitlines() if line.startswith(" "))


@cache
def precompiled(build: Build) -> Path | None:
    """The HLS headers precompiled for these flags, kept in the cache folder; None when that does not work here."""
    text = "".join(f"#include <{name}>\n" for name in (*SYSTEM, *PRELUDE))
    stamp = [
        text,
        *build.flags,
        _version(),
        *(_print(f) for folder in include_path() for f in sorted(folder.rglob("*.[hc]*"))),
    ]
    folder = cache_folder() / "hls" / hashlib.sha256("\n".join(stamp).encode()).hexdigest()[:20]
    header = folder / "prelude.h"
    if (folder / "prelude.h.gch").is_file():
        return header
    with tempfile.TemporaryDirectory(dir=_made(folder.parent)) as draft:
        (Path(draft) / "prelude.h").write_text(text)
        command = [compiler(), *build.flags, "-w", *(f"-I{p}" for p in include_path()), "-x", "c++-header", "prelude.h"]
        done = subprocess.run(command, cwd=draft, capture_output=True, check=False)
        if done.returncode:
            return None
        _runtime(Path(draft))
        os.chmod(draft, 0o755)
        try:
            Path(draft).rename(folder)
        except OSError:  # another process was first
            return header if header.with_name("prelude.h.gch").is_file() else None
        Path(draft).mkdir()  # what the context manager expects to remove
    return header


def _runtime(folder: Path) -> None:
    """The part of a test program that no design influences, compiled once and without instrumentation."""
    source = SHIMS / "dovetail_runtime.cpp"
    folders = [f"-I{place}" for place in include_path()]
    command = [compiler(), STANDARD, "-O1", "-w", *folders, "-c", str(source), "-o", "runtime.o"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DovetailError("the test driver does not compile", why=done.stderr[-300:], hint="g++ 12 or newer")


def runtime(build: Build) -> Path:
    """The object file that every test program is linked with."""
    header = precompiled(build)
    if header is None:
        raise DovetailError("the HLS headers cannot be precompiled here", hint="g++ 12 or newer")
    return header.with_name("runtime.o")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def _version() -> str:
    return subprocess.run([compiler(), "--version"], capture_output=True, text=True, check=False).stdout


def _print(file: Path) -> str:
    stat = file.stat()
    return f"{file} {stat.st_size} {stat.st_mtime_ns}"
