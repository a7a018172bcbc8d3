"""Commands nobody vouches for, run where they can do no harm: compilers over foreign text, and what they make.

In fresh namespaces where the kernel allows them: no network, no other process, a file system of the tool chain and one
temporary folder, nobody's rights. Everywhere: limits on memory, processes, files, CPU and wall clock, a capped output.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dovetail.core.errors import DovetailError

NOBODY = 65534
SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
TICK_S = 0.02
BLOCK, GRACE_S = 4096, 5.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a command may use.

    Parameters
    ----------
    wall_s, cpu_s : float
        Seconds on the clock, and of one process's CPU.
    memory : int
        Resident bytes of all its processes together; the sum is looked at every 20 ms.
    processes : int
        Processes and threads of the sandbox's user.
    output : int
        Bytes kept of each of stdout and stderr; the command is stopped when it prints more.
    file : int
        Bytes of one file.
    disk : int
        Bytes in the working folder.
    """

    wall_s: float = 20.0
    cpu_s: float = 20.0
    memory: int = 2 << 30
    processes: int = 64
    output: int = 8 << 20
    file: int = 256 << 20
    disk: int = 512 << 20


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended.

    Parameters
    ----------
    code : int
        Exit status, negative for a signal.
    stdout, stderr : bytes
        What it printed, up to the cap.
    stopped : str
        Why it was stopped: ``"time"``, ``"memory"``, ``"output"``, ``"disk"``, or empty.
    wall_s, cpu_s : float
        What it took; CPU of waited-for processes, 0 when it was stopped.
    isolation : str
        ``"namespaces"``, ``"user namespace"`` or ``"rlimits"``.
    """

    code: int
    stdout: bytes
    stderr: bytes
    stopped: str = ""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    isolation: str = ""

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.code == 0 and not self.stopped

    @property
    def out(self) -> str:
        """Its stdout as text."""
        return self.stdout.decode("utf-8", "replace")

    @property
    def err(self) -> str:
        """Its stderr as text."""
        return self.stderr.decode("utf-8", "replace")


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary folder for sandboxed commands; goes away with all that is in it."""
    folder = Path(tempfile.mkdtemp(prefix="dovetail-hls-"))
    try:
        (folder / ".root").mkdir()
        _hand_over(folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str | Path],
    work: Path,
    limits: Limits = Limits(),
    *,
    show: Sequence[Path] = (),
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    reader: bool = False,
    apart: bool = True,
) -> Ran:
    """Run `command` in `work`, a folder of `workplace`, and wait.

    Parameters
    ----------
    command : sequence of str or Path
        The program by its full path, and its arguments.
    work : Path
        The one folder it may write.
    limits : Limits
        What it may use.
    show : sequence of Path
        Further files and folders it may read.
    env : mapping, optional
        Added to an otherwise almost empty environment.
    stdin : bytes
        What it reads.
    reader : bool
        Keep the caller's user, without privileges, so that `show` may name private folders: for compilers.
    apart : bool
        Whether to ask the kernel for namespaces; without them the limits remain.

    Raises
    ------
    DovetailError
        The sandbox itself could not be built.
    """
    read, write = os.pipe()
    spec = {
        "command": [str(part) for part in command],
        "work": str(work),
        "show": [*SHOWN, *(str(path) for path in show)],
        "env": {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C", "TMPDIR": str(work)} | dict(env or {}),
        "limits": _rlimits(limits),
        "nobody": not reader,
        "status": write,
        "apart": apart,
    }
    started = time.monotonic()
    process = _started(spec, stdin, write)
    try:
        out, err, stopped = _watch(process, work, limits, started)
    finally:
        _end(process)
        _strip(work)
        with os.fdopen(read) as status:
            said = [json.loads(line) for line in status if line.strip()]
    return _ran(said, out, err, stopped, time.monotonic() - started)


def _started(spec: Mapping[str, object], stdin: bytes, status: int) -> subprocess.Popen[bytes]:
    """The jail, on its way to become the command; `status` is closed on this side."""
    with tempfile.TemporaryFile() as given:
        given.write(stdin)
        given.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("jail.py")), json.dumps(spec)],
            stdin=given, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(status,), start_new_session=True,
            env={"PATH": "/usr/bin:/bin"},
        )  # fmt: skip
    os.close(status)
    return process


def _ran(said: list[dict[str, object]], out: bytes, err: bytes, stopped: str, wall_s: float) -> Ran:
    failed = next((line["failed"] for line in said if "failed" in line), None)
    if failed is not None:
        raise DovetailError("the sandbox could not start the command", why=str(failed), hint="dovetail doctor")
    end = said[-1] if said else {}
    code, cpu_s = int(str(end.get("code", -signal.SIGKILL))), float(str(end.get("cpu_s", 0.0)))
    if not stopped and code == -signal.SIGXCPU:
        stopped = "time"
    return Ran(code, out, err, stopped, wall_s, cpu_s, str(end.get("isolation", "")))


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_CPU": max(1, round(limits.cpu_s)),
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_FSIZE": limits.file,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 256,
        "RLIMIT_STACK": 64 << 20,
    }


def _hand_over(folder: Path) -> None:
    """As root: give the folder to the user the command will be."""
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, NOBODY, 0)
            os.chmod(path, 0o770)


def _watch(process: subprocess.Popen[bytes], work: Path, limits: Limits, started: float) -> tuple[bytes, bytes, str]:
    """Collect the output until the command ends or passes a limit; returns both streams and the limit passed."""
    out, err = (stream.fileno() for stream in (process.stdout, process.stderr) if stream)
    kept = {out: bytearray(), err: bytearray()}
    stopped, looked = "", started
    with selectors.DefaultSelector() as ready:
        for descriptor in kept:
            ready.register(descriptor, selectors.EVENT_READ)
        while ready.get_map() and not stopped:
            for key, _ in ready.select(TICK_S):
                block = os.read(key.fd, 1 << 16)
                if not block:
                    ready.unregister(key.fd)
                kept[key.fd] += block
                if len(kept[key.fd]) > limits.output:
                    stopped = "output"
            now = time.monotonic()
            if now - started > limits.wall_s:
                stopped = "time"
            elif now - looked > TICK_S and not stopped:
                stopped, looked = _overdrawn(process.pid, work, limits), now
    return bytes(kept[out][: limits.output]), bytes(kept[err][: limits.output]), stopped


def _overdrawn(pid: int, work: Path, limits: Limits) -> str:
    if _resident(pid) > limits.memory:
        return "memory"
    return "disk" if _used(work) > limits.disk else ""


def _resident(pid: int) -> int:
    """Resident bytes of a process and all that descend from it; 0 where /proc does not tell."""
    total = 0
    for one in (pid, *_descendants(pid)):
        with suppress(OSError, ValueError, IndexError):
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return total


def _descendants(pid: int) -> list[int]:
    """All processes below one, parents first; those that go away meanwhile are left out."""
    found, ahead = [], [pid]
    while ahead:
        with suppress(OSError, ValueError):
            for thread in Path(f"/proc/{ahead.pop()}/task").iterdir():  # a child belongs to the thread that forked it
                children = [int(child) for child in (thread / "children").read_text().split()]
                found += children
                ahead += children
    return found


def _used(folder: Path) -> int:
    """Bytes of all files below a folder; an entry counts a block at least, for it takes one."""
    return sum(max(BLOCK, status.st_size) for _, status in _below(folder))


def _below(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """All entries of a folder at any depth; links are not followed, what goes away meanwhile is left out."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            with suppress(OSError):
                path = os.path.join(place, name)
                yield path, os.lstat(path)


def _strip(work: Path) -> None:
    """Leave files and folders only: a link that the command made would lead the next writer out of the folder."""
    for path, status in _below(work):
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            os.unlink(path)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the command, whatever session it moved to; then the jail, and with it its namespace.

    The jail stays until nothing is below it: what loses its parent becomes a child of the jail, not of process 1.
    """
    deadline = time.monotonic() + GRACE_S
    while process.poll() is None and time.monotonic() < deadline and (left := _descendants(process.pid)):
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(TICK_S / 10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


@cache
def isolation() -> str:
    """What this machine offers: ``"namespaces"``, ``"user namespace"``, or ``"rlimits"`` alone."""
    with workplace() as work:
        return run(["/bin/true"], work).isolation
