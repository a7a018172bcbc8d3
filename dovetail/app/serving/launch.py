"""``dovetail serve`` from its beginning to its end: an address, a process that speaks HTTP there, the engine here."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event
from types import FrameType
from typing import Any

from dovetail.app.serving.hosts import names_of
from dovetail.app.serving.limits import Limits
from dovetail.core.errors import CHECK_FAILED, DovetailError
from dovetail.core.lazy import require
from dovetail.design.ready import Ready, Ways, check_guesses, is_relaxed, ready
from dovetail.design.resolve import weights_of
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe

KEY = "DOVETAIL_API_KEY"  # of the environment
_UNSENT = 64 << 10  # bytes that wait for a client beside those in its own buffers
_KILL_S = 5.0  # beyond the time to drain


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens and what it asks of who comes.

    Parameters
    ----------
    port : int
        0 for any that is free.
    key : str or None
        None: no key is needed.
    idle_s : float
        Stop after so long without a request; 0: never.
    names : tuple of str
        That requests may call a server of this computer by, beside its usual ones.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    key: str | None = None
    idle_s: float = 0.0
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batching:
    """Texts decoded together, tokens of prompts between steps, bytes for keys and values (None: by what is free)."""

    places: int
    chunk: int
    cache_bytes: int | None = None


def new_key() -> str:
    """A key that nobody guesses."""
    return f"dt-{secrets.token_urlsafe(24)}"


def serve(
    model: str, recipe: str, ways: Ways, address: Address, limits: Limits, batching: Batching, name: str,
    told: Callable[[dict[str, Any]], None],
) -> None:  # fmt: skip
    """Serve a model until the process is told to stop by SIGTERM or Ctrl-C, then finish what is in flight.

    Parameters
    ----------
    name : str
        What clients call the model.
    told : callable
        Given once what is served, and where, when it is.

    Raises
    ------
    DovetailError
        As of `ready`; a packet that is missing, an address that is taken.
    """
    require("starlette", "serve", to="serve a model")
    require("uvicorn", "serve", to="serve a model")
    found, how = Model.load(model), Recipe.load(recipe)
    folder = weights_of(found)
    check_guesses(how, ways)  # before another process is begun
    with listening_at(address, limits.stall_s) as listening:
        port = listening.getsockname()[1]
        host = f"[{address.host}]" if ":" in address.host else address.host
        face = {"model": name, "folder": folder, "key": address.key, "limits": limits, "idle_s": address.idle_s,
                "names": names_of(address.host, address.names)}  # fmt: skip
        begun = Event()
        with _front(listening, limits.drain_s, begun) as (process, end), ready(found, how, ways) as here:
            listening.close()
            about = {
                "model": name, "recipe": how.name, "kernels": here.loaded.arithmetic, "speculate": here.guesser,
                "acceptance": "relaxed" if is_relaxed(how, ways) else "lossless", "url": f"http://{host}:{port}/v1",
                "notes": list(here.notes),
            }  # fmt: skip

            def serving() -> None:
                begun.set()
                told(about)

            _run(here, end, face, batching, serving)
    if process.returncode:
        what = f"the process that speaks HTTP ended with {process.returncode}"
        raise DovetailError(what, where="serve", hint="what it printed above", exit_code=CHECK_FAILED)


def _run(
    here: Ready, end: socket.socket, face: dict[str, Any], batching: Batching, serving: Callable[[], None]
) -> None:
    from dovetail.runtime.serving.engine import Engine
    from dovetail.runtime.serving.link import Link, serve

    link = Link(end)
    engine = Engine(
        here.loaded,
        here.proposer,
        plan=here.plan,
        places=batching.places,
        chunk=batching.chunk,
        cache_bytes=batching.cache_bytes,
    )
    with suppress(OSError):  # the other process has ended, and says why
        link.send("face", face)
        serve(engine, link, serving)


@contextmanager
def listening_at(address: Address, stall_s: float) -> Iterator[socket.socket]:
    """A socket at the address, whose connections hold little that is unread, and not for ever.

    Streams that are not read are given up after `stall_s`; the system gives up the rest some time later.

    Raises
    ------
    DovetailError
        An address that cannot be had.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        found = socket.create_server((address.host, address.port), family=family, backlog=1024)
    except OSError as error:
        hint = "--port 0 for any that is free"
        raise DovetailError(
            "cannot listen", where=f"{address.host}:{address.port}", why=str(error.strerror or error), hint=hint
        ) from None
    with found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNSENT)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * (4 * stall_s + 30)))
        yield found


@contextmanager
def _front(
    listening: socket.socket, drain_s: float, begun: Event
) -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """The process that speaks HTTP, and this end of the socket to it; it is told when this process shall stop."""
    mine, theirs = socket.socketpair()
    numbers = (listening.fileno(), theirs.fileno())
    command = [sys.executable, "-m", "dovetail.app.serving.server", *map(str, numbers)]
    with mine, theirs:
        few = {**os.environ, "OMP_NUM_THREADS": "1"}  # it computes nothing
        process = subprocess.Popen(command, pass_fds=numbers, stdin=subprocess.DEVNULL, env=few)
        theirs.close()
        with _passed_on(process, begun):
            try:
                yield process, mine
            finally:
                mine.close()  # which ends it, if it has not ended
                try:
                    process.wait(drain_s + _KILL_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def _passed_on(process: subprocess.Popen[bytes], begun: Event) -> Iterator[None]:
    """Signals that ask this process to stop ask that one; this one ends when that has. At once, before it serves."""

    def tell(_: int, __: FrameType | None) -> None:
        if not begun.is_set():  # nothing is in flight, and a model may take minutes to load
            raise KeyboardInterrupt
        process.send_signal(signal.SIGTERM)

    before = {one: signal.signal(one, tell) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
