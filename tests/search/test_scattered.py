"""Blocks made by workers: the same front, in any order of answers, whatever is lost; and by a local Ray where it is."""

import os
import pickle
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
    """An evaluator that takes its worker with it, once."""

    def __init__(self, inner: Any, mark: str) -> None:
        self.inner, self.mark, self.driver = inner, mark, os.getpid()

    def __call__(self, structure: Any, columns: Any) -> Any:
        if os.getpid() != self.driver and not Path(self.mark).exists():
            Path(self.mark).touch()
            os._exit(1)
        return self.inner(structure, columns)


def test_on_a_local_ray_a_worker_that_dies_costs_its_block(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install dovetail[cluster]")
    asked = space()
    ask = evaluator(asked)
    mark = tmp_path / "died"
    try:
        found = search(asked, Dying(ask, str(mark)), block=4, spread=scattered(Ray("local")))
    finally:
        ray.shutdown()
    assert mark.exists()
    assert found.front == search(asked, ask, block=4, prune=False).front
