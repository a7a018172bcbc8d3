"""Seconds over a cut cache: pieces of a made-up computer are found again, and other cells follow; `--explain cache`."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dovetail.app.cli import main
from dovetail.core.errors import DovetailError
from dovetail.design.cached_pace import CachedPace
from dovetail.design.estimate import estimate
from dovetail.design.resolve import weights_of
from dovetail.design.timed_cache import SPREAD, timed_cache
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.runtime.cache.filled import filled
from dovetail.runtime.cache.plan import CachePlan
from dovetail.runtime.decoding.runner import runner_of
from dovetail.runtime.load import Loaded, load
from dovetail.workload import Workload

RATE = 7e9  # bytes a second
KEEPING = 1e-4  # of a text and step


@pytest.fixture(scope="module")
def embedded() -> Loaded:
    return load(weights_of(Model.load("embedded")))


@dataclass
class Computer:
    """One whose steps take what the model of the prediction says, with constants of its own; it counts its timings."""

    pace: CachedPace
    timed: int = 0

    def step_s(self, _: CachedPace, batch: int, plan: CachePlan, length: int) -> float:
        self.timed += 1
        kept = 0.0 if plan == CachePlan() else KEEPING
        return self.passing(batch) + self.pace.bytes(batch, plan, length) / RATE + batch * kept

    @staticmethod
    def passing(batch: int) -> float:
        return 1e-3 * batch**0.7

    def attending(self, _: CachedPace, groups: Any, size: int) -> tuple[float, float]:
        self.timed += 1
        return float(size), size / RATE


@pytest.fixture
def computer(embedded: Loaded, monkeypatch: pytest.MonkeyPatch) -> Computer:
    found = Computer(CachedPace.of(runner_of(embedded)))
    monkeypatch.setattr(CachedPace, "_step_s", lambda pace, *given: found.step_s(pace, *given))
    monkeypatch.setattr(CachedPace, "_attending", lambda pace, *given: found.attending(pace, *given))
    return found


@pytest.mark.parametrize(
    "recipe", ["snapkv:keep=192", "kv-window:keep=320,slack=96", "snapkv:keep=128+kv-int8", "kv-int4:group=64"]
)
@pytest.mark.parametrize(("batch", "length"), [(1, 900), (5, 3000), (24, 7000)])
def test_a_computer_is_found_again(computer: Computer, recipe: str, batch: int, length: int) -> None:
    """Of cells that were not timed; only the first cell of a plan and batch is paid for."""
    plan = Recipe.load(recipe).on_cache()
    assert plan is not None
    wanted = computer.passing(batch) + computer.pace.bytes(batch, plan, length) / RATE + batch * KEEPING
    assert computer.pace.seconds(batch, plan, length) == pytest.approx(wanted, rel=0.02)  # one token is in the pass
    timed = computer.timed
    computer.pace.seconds(batch, plan, length + 777)
    assert computer.timed == timed


@pytest.mark.parametrize("recipe", ["none", "snapkv:keep=40,slack=8,window=8", "pyramidkv:keep=96", "kv-int4:group=16"])
def test_what_a_step_reads_is_what_caches_hold(embedded: Loaded, recipe: str) -> None:
    """On average over a period, by the caches themselves."""
    runner, plan = runner_of(embedded), Recipe.load(recipe).on_cache() or CachePlan()
    period = plan.policy.budget.slack if plan.policy else plan.groups.size if plan.groups else 1
    held = [filled(runner, 2, plan, 200 + more).bytes for more in range(period)]
    assert CachedPace.of(runner).bytes(2, plan, 200) == pytest.approx(np.mean(held))


def test_estimate_times_a_recipe_of_the_cache_here(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--prompt", "600", "--output", "9", "--recipe", "snapkv:keep=96,slack=16"]
    words = ["estimate", "embedded", "--on", "host", *asked]
    assert main([*words, "--explain", "cache", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["cache"]
    assert found["context"] == 603  # of the eight steps after the first token
    parts = [found["parts"][name]["value"] for name in ("pass", "reading", "keeping")]
    assert found["tpot"]["value"] == pytest.approx(sum(parts))
    assert found["tpot"]["high"] == pytest.approx(SPREAD * sum(parts))
    assert found["tpot"]["kind"] == "calibrated"
    assert min(parts[:2]) > 0
    loaded = runner_of(load(weights_of(Model.load("embedded"))))
    token = 2 * loaded.kv_heads * loaded.head_dim * 4 * len(loaded.layers)  # type: ignore[attr-defined]
    kept = np.mean([96 + (length - 96) % 16 for length in range(603, 619)])
    assert found["read"]["value"] == token * kept


def test_it_is_on_the_screen(computer: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    assert computer
    assert (
        main(["estimate", "embedded", "--on", "host", "--batch", "3", "--recipe", "kv-int4", "--explain", "cache"]) == 0
    )
    out = capsys.readouterr().out
    for line in (
        "a pass over next to no cache",
        "selecting and packing",
        "a step, timed here",
        "a step, by the estimate",
    ):
        assert line in out


@pytest.mark.parametrize(
    ("on", "recipe", "why"), [("h100-sxm", "snapkv", "cannot be timed here"), ("host", "snapkv+medusa", "guesses")]
)
def test_what_cannot_be_timed(on: str, recipe: str, why: str) -> None:
    found = estimate("embedded", on, Workload(prompt=64, output=8, batch=1), recipe)
    with pytest.raises(DovetailError, match=why):
        timed_cache(found)
