"""Blocks made by workers: the same front, in any order of answers, whatever is lost; and by a local Ray where it is."""

import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Space, Study, search
from dovetail.search.codesign import evaluator, search_space
from dovetail.search.scattered import LostError, Ray, Search, Task, scattered


class Pool:
    """Workers that answer in a random order, after the pickling that a wire takes; some are lost."""

    slots = 3

    def __init__(self, seed: int, lost: float) -> None:
        self.draw, self.lost, self.gone, self.made = np.random.default_rng(seed), lost, 0, 0

    def begin(self, asked: Search, task: Task) -> bytes:
        return pickle.dumps((asked, task))

    def first(self, pending: list[bytes]) -> tuple[bytes, Any]:
        ticket = pending[int(self.draw.integers(len(pending)))]
        if self.draw.random() < self.lost:
            self.gone += 1
            raise LostError(ticket)
        self.made += 1
        asked, task = pickle.loads(ticket)
        return ticket, pickle.loads(pickle.dumps(asked.make(task)))


def space() -> Space:
    free = {"template": "gpu-like", "like": "l4", "sms": {"from": 20, "to": 80, "by": 10}, "l2": ["20 MB", "40 MB"]}
    return Space.of(
        models=["Qwen/Qwen3-1.7B"], recipes=["none", "w8a8"], machines=["l4", free],
        workload={"batch": [1, 2, 4, 8], "prompt": [64, 128, 512], "output": 32},
        constraints=["tpot < 40 ms"], objectives=["tpot", "energy_per_token", "area"],
    )  # fmt: skip


@pytest.mark.parametrize("lost", [0.0, 0.5, 1.0])
def test_whatever_is_lost_the_front_is_the_same(lost: float) -> None:
    asked = space()
    ask, pool = evaluator(asked), Pool(3, lost)
    here, there = search(asked, ask, block=4), search(asked, ask, block=4, spread=scattered(pool))
    assert there.front == here.front
    assert there.winner == here.winner
    assert there.evaluated + sum(points for _, points in there.pruned) == asked.size
    assert (pool.gone > 0) == (lost > 0)
    assert (pool.made > 0) == (lost < 1)


def test_a_study_keeps_what_workers_made(tmp_path: Path) -> None:
    asked = space()
    ask = evaluator(asked)
    with Study(tmp_path / "s.sqlite") as study:
        first = search(asked, ask, study, block=4, spread=scattered(Pool(1, 0.3)))
        pool = Pool(2, 0.0)
        second = search(asked, ask, study, block=4, spread=scattered(pool))
        assert pool.made == 0
        assert second.resumed == study.blocks
        assert second.front == first.front


def test_a_guided_search_is_not_spread() -> None:
    with pytest.raises(DovetailError, match="spreads an exact search"):
        search_space(space(), evaluations=5, ray="local")


class Dying:
    """An evaluator that takes its worker with it, once; it counts what the driver itself evaluates."""

    def __init__(self, inner: Any, mark: Path) -> None:
        self.inner, self.mark, self.driver, self.here = inner, mark, os.getpid(), 0

    def __call__(self, structure: Any, columns: Any) -> Any:
        self.here += os.getpid() == self.driver
        if os.getpid() != self.driver and not self.mark.exists():
            self.mark.touch()
            os._exit(1)
        return self.inner(structure, columns)


class Refusing:
    """An evaluator that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, structure: Any, columns: Any) -> Any:
        raise self.error


@pytest.fixture(scope="module")
def local() -> Iterator[Ray]:
    """A cluster on this computer."""
    pytest.importorskip("ray", reason="ray is not installed: pip install dovetail[cluster]")
    workers = Ray("local")
    yield workers
    workers.ray.shutdown()


def test_on_a_local_ray_a_worker_that_dies_costs_its_block(local: Ray, tmp_path: Path) -> None:
    asked = space()
    ask, mark = evaluator(asked), tmp_path / "died"
    dying, well = Dying(ask, mark), Dying(ask, mark)
    found = search(asked, dying, block=4, spread=scattered(local))
    assert mark.exists()
    again = search(asked, well, block=4, spread=scattered(local))
    exact = search(asked, ask, block=4, prune=False)
    assert found.front == again.front == exact.front
    assert found.winner == exact.winner
    assert 0 < dying.here - well.here <= 2  # the evaluations of one block, one for its relative constraint


def test_on_a_local_ray_an_error_of_the_evaluator_is_told_as_it_is(local: Ray) -> None:
    error = DovetailError("no such thing", where="there", why="because", hint="try that", exit_code=4)
    with pytest.raises(DovetailError, match="there: no such thing") as caught:
        search(space(), Refusing(error), block=4, spread=scattered(local))
    assert (type(caught.value), caught.value.exit_code, caught.value.hint) == (DovetailError, 4, "try that")
    with pytest.raises(DovetailError, match=r"cannot do this work \(no module\)"):
        search(space(), Refusing(ImportError("no module")), block=4, spread=scattered(local))


def test_on_a_local_ray_a_study_keeps_what_workers_made(local: Ray, tmp_path: Path) -> None:
    asked = space()
    ask = evaluator(asked)
    with Study(tmp_path / "s.sqlite") as study:
        first = search(asked, ask, study, block=4, spread=scattered(local))
        second = search(asked, ask, study, block=4, spread=scattered(local))
        assert second.resumed == study.blocks
    assert first.front == second.front == search(asked, ask).front


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:1", "ray://127.0.0.1:1"])
def test_where_no_ray_answers_it_says_how_to_start_one(address: str) -> None:
    pytest.importorskip("ray", reason="ray is not installed: pip install dovetail[cluster]")
    with pytest.raises(DovetailError, match=f"no Ray cluster answers at '{address}'") as caught:
        Ray(address)
    assert "ray start --head" in caught.value.hint


@pytest.mark.parametrize("place", ["home", "variable", ""])
def test_a_token_that_is_there_is_shown_to_a_cluster_that_exists(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", None)  # it need not be installed
    if place == "variable":
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    if place == "home":
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("secret")
    for address, told in (("local", None), ("10.0.0.1:1", "token" if place else None)):
        with pytest.raises(DovetailError, match="'ray' is needed"):
            Ray(address)
        assert os.environ.get("RAY_AUTH_MODE") == told
