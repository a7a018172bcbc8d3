"""Guided search: never evaluates twice, finds all of a small space, resumes, and beats chance on a large one."""

import importlib
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Result, Space, Structure, Study, search
from dovetail.search.archive import Archive
from dovetail.search.guided import SAMPLERS, guided, spread
from dovetail.search.hypervolume import hypervolume, together
from dovetail.search.lattice import Lattice
from dovetail.search.settled import Settled

KEYS: dict[str, Any] = {
    "models": ["m"], "recipes": ["none", "int4"], "objectives": ["tpot", "area", "price"],
    "machines": ["plain", {"template": "gpu-like", "sms": {"from": 4, "to": 200, "by": 1},
                           "l2": {"from": "1 MB", "to": "100 MB", "steps": 60}}],
    "workload": {"batch": [1, 2, 4, 8, 16], "prompt": 1, "output": 1}, "constraints": ["tpot < 60 s"],
}  # fmt: skip


class Counted:
    """A model with trade-offs, and how often each point was asked of it."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[Any, ...]] = Counter()

    def __call__(self, structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        usual = np.ones(len(columns["batch"]))
        sms, l2 = columns.get("sms", 40 * usual), columns.get("l2", 1e7 * usual)
        for row in zip(columns["batch"], sms, l2, strict=True):
            self.asked[(str(structure), *row)] += 1
        worse = {"none": 4.0, "int4": 1.5}[structure.recipe]
        tpot = 40 * worse * (1 / sms + np.sqrt(columns["batch"]) / (l2 / 1e6) ** 0.7)
        area = 2.0 * sms + l2 / 1e6 + (30.0 if structure.recipe == "int4" else 0.0)
        return {"tpot": tpot, "area": area, "price": area * tpot / columns["batch"]}


def costs(found: Result) -> np.ndarray:
    rows = [[float(o.cost(np.asarray(float(c[o.metric])))) for o in found.objectives] for c in found.front]
    return np.asarray(rows).reshape(-1, len(found.objectives))


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "gp"])
def test_a_budget_of_the_whole_space_finds_the_exact_front(sampler: str) -> None:
    tiny = {**KEYS, "machines": [{"template": "gpu-like", "sms": [4, 9, 60], "l2": ["5 MB", "50 MB"]}]}
    space, ask = Space.of(**tiny), Counted()
    found = guided(space, ask, 10**6, sampler=sampler, batch=7)
    assert max(ask.asked.values()) == 1
    assert found.evaluated == space.size == len(ask.asked)
    assert {str(c) for c in found.front} == {str(c) for c in search(space, Counted()).front}
    assert found.winner == search(space, Counted()).winner


def test_every_evaluation_is_a_new_point_and_the_rest_is_accounted_for() -> None:
    space, ask = Space.of(**KEYS), Counted()
    found = guided(space, ask, 90, sampler="nsga2")
    assert len(ask.asked) == sum(ask.asked.values()) == found.evaluated == 90
    assert found.evaluated + sum(n for _, n in found.pruned) == space.size
    assert "90 evaluations" in found.pruned[-1][0]
    assert found.certificate()["method"].startswith("guided by nsga2")


def test_it_comes_nearer_to_the_exact_front_than_chance() -> None:
    space = Space.of(**KEYS)
    exact = costs(search(space, Counted()))
    gaps = {}
    for sampler in ("random", "tpe"):
        shares = [together([exact, costs(guided(space, Counted(), 200, sampler=sampler, seed=s))]) for s in range(3)]
        gaps[sampler] = np.mean([whole - part for whole, part in shares])
    assert gaps["tpe"] < 0.7 * gaps["random"]


def test_interrupted_it_resumes_to_the_same_result(tmp_path: Path) -> None:
    space, whole = Space.of(**KEYS), guided(Space.of(**KEYS), Counted(), 60)

    class Killed(Counted):
        def __call__(self, structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
            if len(self.asked) > 30:
                raise KeyboardInterrupt
            return super().__call__(structure, columns)

    with pytest.raises(KeyboardInterrupt), Study(tmp_path / "a.study") as study:
        guided(space, Killed(), 60, study=study)
    rest = Counted()
    with Study(tmp_path / "a.study") as study:
        again = guided(space, rest, 60, study=study)
    assert again.to_json() == whole.to_json()
    assert again.resumed > 20
    assert len(rest.asked) + again.resumed == 60


def test_it_starts_where_it_is_told_and_stops_when_it_is_enough() -> None:
    space = Space.of(**KEYS)
    lattice, seen = Lattice(space), []

    def enough(archive: Archive) -> bool:
        seen.append(archive.evaluated)
        return archive.evaluated >= 40

    ask = Counted()
    start = [lattice.size - 1, 5, lattice.size // 2]
    found = guided(space, ask, 500, start=start, enough=enough, sampler="nsga2")
    assert seen == [3, 23, 43]
    assert found.evaluated == 43
    batches = {space.axes[0].values[lattice.place(n)["batch"]] for n in start}
    assert batches == {key[1] for key in list(ask.asked)[:3]}


def test_a_cheap_evaluator_spares_the_dear_one_bad_candidates() -> None:
    space, exact = Space.of(**KEYS), costs(search(Space.of(**KEYS), Counted()))
    alone, helped, cheap = Counted(), Counted(), Counted()
    plain = guided(space, alone, 60, sampler="nsga2", seed=3)
    ranked = guided(space, helped, 60, sampler="nsga2", seed=3, cheap=cheap)
    assert len(helped.asked) == 60 < len(cheap.asked)
    _, first, second = together([exact, costs(plain), costs(ranked)])
    assert second > first


def test_without_optuna_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(DovetailError, match="'optuna' is needed to guide a search") as caught:
        guided(Space.of(**KEYS), Counted(), 10)
    assert "[search]" in caught.value.hint
    assert guided(Space.of(**KEYS), Counted(), 10, sampler="random").evaluated == 10


def test_an_unknown_sampler() -> None:
    with pytest.raises(DovetailError, match="did you mean 'nsga3' or 'nsga2'"):
        guided(Space.of(**KEYS), Counted(), 10, sampler="nsga")


def test_numbers_and_places_are_each_others_inverse() -> None:
    space = Space.of(**KEYS)
    lattice, draw = Lattice(space), np.random.default_rng(0)
    assert lattice.size == space.size
    for number in draw.integers(0, lattice.size, 200):
        assert lattice.index(lattice.place(int(number))) == number
        beside = lattice.neighbour(int(number), draw)
        assert 0 <= beside < lattice.size


def test_ends_and_gaps_of_a_front_are_looked_beside_more_often() -> None:
    shares = spread(np.asarray([[0.0, 9.0], [1.0, 8.0], [1.2, 7.8], [1.4, 7.6], [9.0, 0.0]]))
    assert shares.sum() == pytest.approx(1.0)
    assert shares[2] < shares[0]
    assert shares[2] < shares[3]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
def test_hypervolume_against_another_library(objectives: int) -> None:
    pymoo: ModuleType = importlib.import_module("pymoo.indicators.hv")
    rng = np.random.default_rng(objectives)
    for rows in (1, 2, 5, 30):
        points = np.round(rng.random((rows, objectives)), 1)
        ours = hypervolume(points, np.full(objectives, 1.05))
        assert ours == pytest.approx(float(pymoo.HV(ref_point=np.full(objectives, 1.05))(points)), abs=1e-12)


def test_hypervolume_of_fronts_together_does_not_depend_on_units() -> None:
    rng = np.random.default_rng(0)
    one, other = np.exp(rng.random((20, 3))), np.exp(rng.random((9, 3)))
    first = together([one, other, np.empty((0, 3))])
    assert first[2] == 0.0
    scaled = together([f * np.asarray([1e3, 1e-6, 7.0]) for f in (one, other)])
    assert first[:2] == pytest.approx(scaled)
    maximised = together([f * np.asarray([1.0, 1.0, -1.0]) for f in (one, other)])
    assert all(0 < v < 1 for v in maximised)


class Vague(Counted):
    """The same with intervals of a factor around every value."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def __call__(self, structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        found = super().__call__(structure, columns)
        ends = {f"{n}_{side}": v * f for n, v in found.items()
                for side, f in (("low", 1 / self.factor), ("high", self.factor))}  # fmt: skip
        return found | ends


def test_wide_intervals_end_a_search_and_narrow_ones_do_not() -> None:
    space = Space.of(**KEYS)
    stopped = {
        factor: guided(space, Vague(factor), 400, sampler="random", seed=1, enough=Settled(space.objectives))
        for factor in (1.0, 1.5, 100.0)
    }
    assert stopped[100.0].evaluated == 20 * 6  # a first batch, and five that tell nothing
    assert "not certainly new" in stopped[100.0].notes[0]
    assert stopped[100.0].evaluated <= stopped[1.5].evaluated <= stopped[1.0].evaluated


def test_an_archive_that_grows_certainly_goes_on() -> None:
    space = Space.of(**{**KEYS, "objectives": ["tpot"]})
    archive, enough = Archive(1), Settled(space.objectives, patience=2)
    for best, stop in ((10.0, False), (5.0, False), (4.9, False), (4.8, True)):
        archive.index, archive.costs = np.asarray([int(best * 10)]), np.asarray([[best]])
        archive.rows = {"tpot_low": np.asarray([best * 0.8]), "tpot_high": np.asarray([best * 1.2])}
        assert enough(archive) is stop
