"""Branch and bound: the front of pruned spaces is that of whole ones, and the certificate accounts for every point."""

import contextlib
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.search import Result, Space, Structure, Study, search
from dovetail.search.bounded import Boxes, Shape, halved
from dovetail.search.codesign import evaluator
from dovetail.search.outcome import conflict

RNG = np.random.default_rng
Columns = Mapping[str, np.ndarray]


class Steps:
    """Times that fall, and costs that rise, in steps with every parameter; ties are common. Bounds are its corners."""

    def __init__(self, seed: int) -> None:
        self.weights = RNG(seed).integers(1, 4, (2, 2)).astype(float)
        self.coarse = float(RNG(seed + 1).choice([0.5, 2.0, 8.0]))

    def __call__(self, structure: Structure, columns: Columns) -> dict[str, Any]:
        return self._of(structure, columns, columns)

    def _of(self, structure: Structure, fast: Columns, cheap: Columns) -> dict[str, Any]:
        a, b = self.weights
        worse = {"none": 4.0, "int4": 2.0}[structure.recipe]
        tpot = self._step(fast["batch"] * worse * (a[0] / fast["sms"] + a[1] / (fast["l2"] / 1e6)) * 40)
        area = self._step(b[0] * cheap["sms"] + b[1] * cheap["l2"] / 1e6)
        memory = np.where(fast["batch"] > 2, 2.0, 0.5)
        return {
            "tpot": tpot, "area": area, "price": self._step(area * tpot), "perplexity": 5.0 / worse, "memory": memory,
            "feasible": memory < fast["l2"] / 1e6, "excess": memory / (fast["l2"] / 1e6),
        }  # fmt: skip

    def _step(self, values: np.ndarray) -> np.ndarray:
        return np.asarray(np.ceil(values / self.coarse) * self.coarse)

    def bound(self, structure: Structure, low: Columns, high: Columns) -> dict[str, Any]:
        best = self._of(structure, high, low)
        found = {name: (best[name], np.inf) for name in ("tpot", "area", "price")}
        return found | {"feasible": (0.0, best["feasible"]), "excess": (best["excess"], np.inf)}

    def known(self, structure: Structure) -> dict[str, float]:
        return {"perplexity": {"none": 1.25, "int4": 2.5}[structure.recipe]}


def question(seed: int) -> Space:
    rng = RNG(seed)
    sms = sorted({int(n) for n in rng.integers(4, 200, rng.integers(2, 30))})
    l2 = [f"{n} MB" for n in sorted({int(n) for n in rng.integers(1, 60, rng.integers(2, 30))}, reverse=bool(seed % 2))]
    rules = ["tpot < 30 s", "area < 300 mm2", "perplexity < 1.5x", "sms < 150", "price < 4000 USD", "tpot > 1 s"]
    chosen = [rule for rule in rules if rng.random() < 0.35]
    return Space.of(
        models=["m"], recipes=["none", "int4"], machines=[{"template": "gpu-like", "sms": sms, "l2": l2}],
        workload={"batch": [1, 2, 3], "prompt": 1, "output": 1}, constraints=chosen,
        objectives=[["tpot", "area"], ["tpot", "price", "area"], ["price"], ["-sms", "tpot"]][seed % 4],
    )  # fmt: skip


def brute(space: Space, evaluate: Steps) -> list[tuple[Any, ...]]:
    """One point at a time, every pair compared, its own reading of the constraints."""
    rows: list[tuple[tuple[Any, ...], tuple[float, ...]]] = []
    for recipe in space.recipes:
        base = evaluate.known(Structure("m", "none", "gpu-like"))["perplexity"]
        for point in itertools.product(*(a.values.tolist() for a in space.axes_of("gpu-like"))):
            columns = {a.name: np.asarray([v]) for a, v in zip(space.axes_of("gpu-like"), point, strict=True)}
            found = evaluate(Structure("m", recipe, "gpu-like"), columns) | columns
            values = {k: float(np.ravel(v)[0]) for k, v in found.items()}
            said = {
                "tpot < 30 s": values["tpot"] < 30, "area < 300 mm2": values["area"] < 300,
                "perplexity < 1.5x": values["perplexity"] < 1.5 * base, "sms < 150": values["sms"] < 150,
                "price < $4e+03": values["price"] < 4000, "tpot > 1 s": values["tpot"] > 1,
            }  # fmt: skip
            if values["feasible"] and all(said[str(rule)] for rule in space.constraints):
                costs = tuple(values[o.metric] * (1 if o.direction == "min" else -1) for o in space.objectives)
                rows.append(((recipe, *point), costs))
    kept = []
    for i, (key, mine) in enumerate(rows):
        beaten = any(
            all(a <= b for a, b in zip(other, mine, strict=True)) and (other != mine or j < i)
            for j, (_, other) in enumerate(rows) if i != j
        )  # fmt: skip
        kept += [] if beaten else [key]
    return kept


def keys(found: Result) -> list[tuple[Any, ...]]:
    return [(c.structure.recipe, *map(float, c.point.values())) for c in found.front]


@pytest.mark.parametrize("seed", range(20))
def test_pruned_front_equals_brute_force(seed: int) -> None:
    space, evaluate = question(seed), Steps(seed)
    found = search(space, evaluate)
    assert sorted(keys(found)) == sorted(brute(space, evaluate))
    assert found.evaluated + sum(n for _, n in found.pruned) == found.points == space.size
    whole = search(space, evaluate, prune=False)
    assert (whole.front, whole.winner) == (found.front, found.winner)
    assert whole.evaluated >= found.evaluated


def test_something_is_pruned_for_each_reason() -> None:
    reasons = {why for seed in range(20) for why, _ in search(question(seed), Steps(seed)).pruned}
    assert "dominated by a design that was evaluated" in reasons
    assert "none of these fits" in reasons
    assert any("area" in why for why in reasons)
    assert any("perplexity" in why for why in reasons)


def test_where_nothing_is_feasible_the_nearest_and_the_smallest_conflict_are_told() -> None:
    keys = {"models": ["m"], "recipes": ["none", "int4"], "workload": {"batch": [1, 2], "prompt": 1, "output": 1}}
    chip = {
        "template": "gpu-like",
        "sms": {"from": 4, "to": 200, "by": 4},
        "l2": {"from": "4 MB", "to": "60 MB", "steps": 20},
    }
    rules = ["perplexity < 3", "tpot < 10 s", "area < 15 mm2"]
    found = search(Space.of(**keys, machines=[chip], constraints=rules, objectives=["price"]), Steps(0))
    assert found.front == ()
    assert found.nearest is not None
    assert found.conflict == ("tpot < 10 s", "area < 15 mm2")
    assert "no design meets 'tpot < 10 s' and 'area < 15 mm2' together" in found.why
    assert found.evaluated + sum(n for _, n in found.pruned) == found.points
    alone = search(Space.of(**keys, machines=[chip], constraints=["perplexity < 1"], objectives=["price"]), Steps(0))
    assert alone.conflict == ("perplexity < 1",)
    assert alone.nearest is not None
    assert alone.evaluated + sum(n for _, n in alone.pruned) == alone.points


def test_the_smallest_conflict_against_every_subset() -> None:
    rng = RNG(1)
    for _ in range(50):
        breaches = {int(m): 1 for m in rng.integers(1, 32, rng.integers(1, 12))}
        found = conflict(breaches, ["a", "b", "c", "d"])
        names = ["the design itself", "a", "b", "c", "d"]
        hits = [
            len(some) for n in range(1, 6) for some in itertools.combinations(range(5), n)
            if all(any(broken >> i & 1 for i in some) for broken in breaches)
        ]  # fmt: skip
        assert len(found) == min(hits)
        assert all(any(broken >> names.index(name) & 1 for name in found) for broken in breaches)


def test_halving_keeps_every_point_once() -> None:
    space = question(3)
    shape = Shape.of(space, "gpu-like")
    boxes: Boxes = shape.whole(0, 3)
    for _ in range(4):
        boxes = halved(boxes)
        rows = shape.rows(boxes)
        assert np.array_equal(rows, np.arange(space.rows_of("gpu-like")))
        assert int(boxes.volume.sum()) == len(rows)


@pytest.mark.parametrize(
    ("recipes", "machine"),
    [
        (["none", "w4a16-rtn"], {"template": "gpu-like", "sms": {"from": 32, "to": 256, "steps": 8}, "link": "0 B/s",
                                 "bandwidth": {"from": "1 TB/s", "to": "8 TB/s", "steps": 6},
                                 "capacity": ["24 GB", "80 GB"]}),
        (["w8a8", "w4a8"], {"template": "overlay", "rows": [1, 4, 16], "columns": [16, 64, 256],
                            "capacity": ["8 GB", "16 GB"],
                            "sram": ["1 MB", "8 MB"], "bandwidth": {"from": "20 GB/s", "to": "200 GB/s", "steps": 7}}),
    ],
)  # fmt: skip
def test_with_the_cost_model_the_pruned_front_is_the_whole_one(recipes: list[str], machine: dict[str, Any]) -> None:
    space = Space.of(
        models=["Qwen/Qwen3-8B"], recipes=recipes, machines=[machine],
        workload={"batch": [1, 8, 32], "prompt": 1000, "output": 100},
        constraints=["area < 900 mm2", "tpot < 1 s"], objectives=["tpot", "usd_per_mtok", "energy_per_token", "area"],
    )  # fmt: skip
    ask = evaluator(space)
    found, whole = search(space, ask), search(space, ask, prune=False)
    assert found.front == whole.front != ()
    assert found.evaluated < whole.evaluated
    assert math.isclose(found.evaluated + sum(n for _, n in found.pruned), space.size)


def test_a_bounded_search_resumes_to_the_same_result(tmp_path: Path) -> None:
    space, whole = question(4), search(question(4), Steps(4))
    path = tmp_path / "a.study"

    class Killed(Steps):
        calls = 0

        def __call__(self, structure: Structure, columns: Columns) -> dict[str, Any]:
            Killed.calls += 1
            if Killed.calls > 4:
                raise KeyboardInterrupt
            return super().__call__(structure, columns)

    with Study(path) as study, contextlib.suppress(KeyboardInterrupt):
        search(space, Killed(4), study)
    with Study(path) as study:
        again = search(space, Steps(4), study)
    assert again.to_json() == whole.to_json()
    with Study(path) as study:
        assert search(space, Steps(4), study).resumed > 0
        assert study.space() == space
