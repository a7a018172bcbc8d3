"""Exact search against brute force: equal fronts on random spaces, and points per second.

The brute force is independent and slow: plain Python, one point at a time, every pair compared, its own reading of the
constraints. The spaces have ties, NaN, infeasible rows, relative bounds and bounds on axes.

Run: python bench/search.py [--points 10000000] [--only exact,cost,guided,fresh,kill,speed,joint,study4] [--keep FILE]
"""

from __future__ import annotations

import argparse
import itertools
import math
import resource
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dovetail.search import Result, Space, Structure, search

METRICS = ("perplexity", "tpot", "energy_per_token", "usd_per_mtok")
Point = tuple[str, str, str, float, float, float]


@dataclass(frozen=True)
class Question:
    """A random space, its numbers by table, and its constraints again as (metric, sign, bound, relative)."""

    space: Space
    tables: Mapping[Structure, Mapping[str, NDArray[Any]]]
    bounds: tuple[tuple[str, str, float, bool], ...]

    def evaluate(self, structure: Structure, columns: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Any]:
        """The evaluator: the rows of the tables that the columns name."""
        place = np.zeros(len(columns["batch"]), dtype=np.int64)
        for axis in self.space.axes:
            values = axis.values.tolist()
            place = place * len(values) + [values.index(v) for v in columns[axis.name].tolist()]
        return {name: values[place] for name, values in self.tables[structure].items()}


def question(seed: int) -> Question:
    """A random question of some hundred points."""
    rng = np.random.default_rng(seed)
    names = {kind: [f"{kind}{i}" for i in range(rng.integers(1, 4))] for kind in ("model", "machine")}
    recipes = ["none", "int4", "int2"][: rng.integers(1, 4)]
    axes = {name: sorted({int(v) for v in rng.integers(1, 64, 4)}) for name in ("batch", "prompt", "output")}
    bounds: list[tuple[str, str, float, bool]] = []
    if rng.random() < 0.7:
        bounds.append(("perplexity", "<", float(rng.integers(2, 12)) / 4, True))
    if rng.random() < 0.7:
        bounds.append(("tpot", "<=", float(rng.integers(3, 9)), False))
    if rng.random() < 0.5:
        bounds.append(("batch", ">=", float(axes["batch"][0] + 1 if len(axes["batch"]) > 1 else 1), False))
    space = Space.of(
        models=names["model"], recipes=recipes, machines=names["machine"], workload=axes,
        constraints=[f"{metric} {sign} {bound!r}{'x' * relative}" for metric, sign, bound, relative in bounds],
        objectives=list(METRICS[: rng.integers(1, 5) if seed % 5 == 0 else 4]),
    )  # fmt: skip
    few = int(rng.choice([5, 50, 1000]))  # distinct values: many ties, or hardly any
    return Question(space, {s: _table(rng, space.rows, few) for s in space.structures()}, tuple(bounds))


def _table(rng: np.random.Generator, rows: int, few: int) -> Mapping[str, NDArray[Any]]:
    """Whole numbers, so that ties are common; some NaN, some rows that cannot be."""
    table: dict[str, NDArray[Any]] = {name: rng.integers(1, few, rows).astype(float) for name in METRICS}
    table["tpot"][rng.random(rows) < 0.05] = np.nan
    return {**table, "feasible": rng.random(rows) < 0.9}


def brute_force(asked: Question) -> list[Point]:
    """The front, one point at a time."""
    rows = [row for row in _rows(asked) if _allowed(asked, row)]
    wanted = [o.metric for o in asked.space.objectives]
    costs = [tuple(metrics[name] for name in wanted) for _, metrics, _ in rows]
    front = []
    for j, mine in enumerate(costs):
        beaten = any(
            all(a <= b for a, b in zip(other, mine)) and (other != mine or i < j)
            for i, other in enumerate(costs)
            if i != j
        )
        if not beaten:
            front.append(rows[j][0])
    return front


def _rows(asked: Question) -> Iterator[tuple[Point, dict[str, float], dict[str, float]]]:
    """Every point with its metrics and those of its reference."""
    space = asked.space
    for model, recipe, machine in itertools.product(space.models, space.recipes, space.machines):
        for row, point in enumerate(itertools.product(*(axis.values.tolist() for axis in space.axes))):
            mine, base = (
                asked.tables[Structure(model, recipe, machine)],
                asked.tables[Structure(model, "none", machine)],
            )
            metrics = {name: values[row].item() for name, values in mine.items()}
            metrics |= dict(zip(("batch", "prompt", "output"), point))
            yield (model, recipe, machine, *point), metrics, {name: values[row].item() for name, values in base.items()}


def _allowed(asked: Question, row: tuple[Point, dict[str, float], dict[str, float]]) -> bool:
    _, metrics, base = row
    if not metrics["feasible"] or any(math.isnan(metrics[o.metric]) for o in asked.space.objectives):
        return False
    for metric, sign, bound, relative in asked.bounds:
        value = metrics[metric] / base[metric] if relative else metrics[metric]
        if math.isnan(value) or not {"<": value < bound, "<=": value <= bound, ">=": value >= bound}[sign]:
            return False
    return True


def points_of(result: Result) -> list[Point]:
    """The front of a result in the words of the brute force."""
    places = [(c.structure, [float(v) for v in c.point.values()]) for c in result.front]
    return [(s.model, s.recipe, s.machine, v[0], v[1], v[2]) for s, v in places]


def same_front(asked: Question, block: int = 50) -> bool:
    """Whether search and brute force give the same points, ties included."""
    return sorted(points_of(search(asked.space, asked.evaluate, block=block))) == sorted(brute_force(asked))


def large(points: int) -> Space:
    """Twelve structures and as many rows as `points` needs."""
    rows = max(points // 12, 1)
    side = max(math.isqrt(rows // 16), 1)
    return Space.of(
        models=["a", "b"], recipes=["none", "int4"], machines=["x", "y", "z"],
        workload={"batch": {"from": 1, "to": 16, "by": 1}, "prompt": {"from": 1, "to": side, "by": 1},
                  "output": {"from": 1, "to": max(rows // 16 // side, 1), "by": 1}},
        constraints=["tpot < 1 s and perplexity < 1.5x"],
    )  # fmt: skip


def smooth(structure: Structure, columns: Mapping[str, NDArray[np.float64]]) -> Mapping[str, Any]:
    """A cheap evaluator with real trade-offs, so that the figure is the search's own cost."""
    size, bits = 1.0 + (structure.model == "b"), {"none": 16.0, "int4": 4.0}[structure.recipe]
    speed = {"x": 1.0, "y": 2.0, "z": 4.0}[structure.machine]
    batch, context = columns["batch"], columns["prompt"] + columns["output"] / 2
    tpot = (size * bits * 1e-3 + batch * context * 1e-7) / speed
    return {
        "perplexity": 10 / size * (1 + 0.3 / bits), "tpot": tpot,
        "energy_per_token": tpot * (30 * speed + 0.01 * columns["output"]) / batch,
        "usd_per_mtok": tpot * speed**1.5 / batch + 1e-4 / columns["output"],
    }  # fmt: skip


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    options.add_argument("--points", type=int, default=1_000_000)
    options.add_argument("--only", default="exact", help="exact, cost, guided, fresh, kill, speed, joint, study4")
    options.add_argument("--keep", type=Path, default=Path("study4.jsonl"), help="what study4 has measured so far")
    asked_for = options.parse_args()
    points, parts = asked_for.points, asked_for.only.split(",")
    for part in (name for name in parts if name != "exact"):
        from search_parts import PARTS  # beside this file
        from search_study4 import here

        print(f"| {part} | |\n|---|---|")
        for what, value in here(asked_for.keep) if part == "study4" else PARTS[part]():
            print(f"| {what} | {value} |", flush=True)
    if "exact" not in parts:
        return
    asked = [question(seed) for seed in range(20)]
    begin = time.perf_counter()
    fronts = [brute_force(q) for q in asked]
    slow = time.perf_counter() - begin
    begin = time.perf_counter()
    ours = [points_of(search(q.space, q.evaluate, block=50)) for q in asked]
    fast = time.perf_counter() - begin
    equal = sum(sorted(a) == sorted(b) for a, b in zip(fronts, ours))
    count = sum(q.space.size for q in asked)
    begin = time.perf_counter()
    found = search(large(points), smooth)
    wall = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print("| what | points | front | seconds | points/s |\n|---|---|---|---|---|")
    for name, size, front, seconds in (
        ("20 random spaces, brute force", count, sum(map(len, fronts)), slow),
        (f"20 random spaces, dovetail ({equal}/20 fronts equal)", count, sum(map(len, ours)), fast),
        (f"one space, 4 objectives, dovetail (peak {peak:.2f} GiB)", found.points, len(found.front), wall),
    ):
        print(f"| {name} | {size:,} | {front:,} | {seconds:.2f} | {size / seconds:,.0f} |")


if __name__ == "__main__":
    main()
