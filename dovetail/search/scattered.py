"""Blocks of an exact search made by many workers, such as tasks of Ray; a worker that is lost costs its block.

The driver keeps a few blocks in flight, and each carries the strongest designs known when it was begun. A block whose
worker is lost is made by the driver itself, so that a search ends as long as the driver lives.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dovetail.core.errors import DovetailError
from dovetail.core.lazy import require
from dovetail.search.answer import Columns, Evaluator
from dovetail.search.archive import Archive
from dovetail.search.block import Block
from dovetail.search.exact import Job, Spread, Work
from dovetail.search.space import Space, Structure

Made = tuple[Block, Columns]
_KNOCK_S = 5.0


class LostError(Exception):
    """A worker that will not answer."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a worker needs beside the search itself."""

    structure: Structure
    start: int
    stop: int
    unit: tuple[int, int] | None
    strong: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Search:
    """What every worker of one search needs once."""

    space: Space
    evaluate: Evaluator
    size: int
    prune: bool

    def make(self, task: Task) -> Made:
        """The block of a task."""
        work = Work(self.space, self.evaluate, None, self.size, self.prune, Archive(len(self.space.objectives)))
        work.filter.costs = task.strong
        return work.again(task.structure, task.start, task.stop, task.unit)


class Workers(Protocol):
    """Where blocks are made."""

    @property
    def slots(self) -> int:
        """Blocks in flight."""

    def begin(self, asked: Search, task: Task) -> Any:
        """Start a task; returns what `first` takes."""

    def first(self, pending: list[Any]) -> tuple[Any, Made]:
        """Wait for one of `pending`: which, and its block. Raises `LostError` (ticket as its argument)."""


def scattered(workers: Workers) -> Spread:
    """For ``search(…, spread=…)``."""

    def spread(work: Work) -> Iterator[tuple[Block, bool]]:
        asked = Search(work.space, work.evaluate, work.size, work.prune)
        flying: list[tuple[Any, Job]] = []
        for job in work.jobs():
            if isinstance(job, Block):
                yield job, False
                continue
            if (kept := work.known(job)) is not None:
                yield kept, True
                continue
            task = Task(job.structure, job.start, job.stop, job.unit, work.filter.costs)
            flying.append((workers.begin(asked, task), job))
            if len(flying) >= workers.slots:
                yield work.keep(*_landed(workers, flying)), False
        while flying:
            yield work.keep(*_landed(workers, flying)), False

    return spread


def _landed(workers: Workers, flying: list[tuple[Any, Job]]) -> Made:
    """The first block that is ready, or that of a lost worker, made here."""
    tickets = [ticket for ticket, _ in flying]
    try:
        ticket, made = workers.first(tickets)
    except LostError as lost:
        ticket, made = lost.args[0], None
    place = next(i for i, one in enumerate(tickets) if one is ticket)
    _, job = flying.pop(place)
    return job.make() if made is None else made


class Ray:
    """Tasks of a Ray cluster.

    Parameters
    ----------
    address : str
        Of the cluster (``auto``, ``10.0.0.1:6379``, ``ray://HOST:10001``), or ``local`` to start one here.

    Raises
    ------
    DovetailError
        Ray is not installed, or there is no cluster at that address.
    """

    def __init__(self, address: str) -> None:
        if address != "local":
            _present_token()
        self.ray = require("ray", "cluster", to="search on a cluster")
        try:
            _reach(address)
            self.ray.init(
                address=address,
                ignore_reinit_error=True,
                logging_level="ERROR",
                log_to_driver=False,
                namespace="dovetail",
            )
        except (OSError, RuntimeError, ValueError) as error:
            what = f"no Ray cluster answers at '{address}'"
            raise DovetailError(what, where="--ray", why=str(error)[:200], hint="ray start --head; or local") from error
        self.task = self.ray.remote(max_retries=0)(_made)
        self.shared: dict[int, Any] = {}

    @property
    def slots(self) -> int:
        """Two blocks for each processor, so that none waits for the driver."""
        return max(2, 2 * int(self.ray.cluster_resources().get("CPU", 1)))

    def begin(self, asked: Search, task: Task) -> Any:
        """Start a task."""
        if id(asked) not in self.shared:
            self.shared[id(asked)] = self.ray.put(asked)
        return self.task.remote(self.shared[id(asked)], task)

    def first(self, pending: list[Any]) -> tuple[Any, Made]:
        """Wait for one of them."""
        (ready, *_), _ = self.ray.wait(pending, num_returns=1)
        try:
            made = self.ray.get(ready)
        except self.ray.exceptions.RayTaskError as error:
            what = "a worker of the cluster cannot do this work"
            why = str(error.cause).strip().splitlines()[0][:200]
            raise DovetailError(what, where="--ray", why=why, hint="the same dovetail on every node") from error
        except self.ray.exceptions.RayError as error:
            raise LostError(ready) from error
        if isinstance(made, DovetailError):
            raise made
        return ready, made


def _reach(address: str) -> None:
    """Knock at ``HOST:PORT``, since Ray tries for two minutes. Raises `OSError` where nothing answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()


def _present_token() -> None:
    """Show a token that is there to a cluster that exists: Ray's head asks for it by itself, its clients must be told.

    Before Ray is imported, which reads this once; a cluster that asks for none takes it as well.
    """
    given = any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
    if given or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _made(asked: Search, task: Task) -> Made | DovetailError:
    """The block of a task, or why there is none: as a value, since Ray writes a page about errors nobody waits for."""
    try:
        return asked.make(task)
    except DovetailError as error:
        return error
