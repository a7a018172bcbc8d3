"""The search against brute force, its counts and picks, and what it says when nothing is feasible."""

import json
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.search import Result, Space, Structure, search

ONE = {"models": ["small"], "machines": ["slow"], "workload": {"batch": [1, 2], "prompt": 128, "output": 128}}


@pytest.mark.parametrize("seed", range(20))
def test_front_equals_brute_force(brute: ModuleType, seed: int) -> None:
    assert brute.same_front(brute.question(seed), block=40 + 17 * seed)


def test_brute_force_tells_a_wrong_front(brute: ModuleType) -> None:
    asked = brute.question(1)
    front = brute.brute_force(asked)
    assert len(front) > 1
    assert sorted(brute.points_of(search(asked.space, asked.evaluate))) != sorted(front[1:])


@pytest.fixture(scope="module")
def found(toy: ModuleType) -> Result:
    return search(Space.of(**toy.KEYS), toy.evaluate)


def test_result_does_not_depend_on_the_block(toy: ModuleType, found: Result) -> None:
    for block in (1, 7, 18):
        again = search(Space.of(**toy.KEYS), toy.evaluate, block=block)
        assert json.dumps(again.to_json()) == json.dumps(found.to_json())


def test_front_is_the_same_for_any_order_of_names(toy: ModuleType, found: Result) -> None:
    turned = {
        key: value[::-1] if key in ("models", "recipes", "machines") else value for key, value in toy.KEYS.items()
    }
    assert {str(c) for c in search(Space.of(**turned), toy.evaluate).front} == {str(c) for c in found.front}


def test_counts_add_up_and_name_what_binds(toy: ModuleType, found: Result) -> None:
    assert found.evaluated == found.points == 2 * 3 * 2 * 9 * 2
    assert found.feasible + sum(found.infeasible.values()) == found.evaluated
    assert found.infeasible["perplexity < 1.01x"] > 0
    assert found.infeasible["memory"] > 0
    pruned = search(Space.of(**{**toy.KEYS, "constraints": ["batch >= 4"]}), toy.evaluate)
    assert pruned.to_json()["pruned"] + pruned.evaluated == found.points
    assert pruned.certificate()["pruned"] == [{"why": "batch >= 4", "points": 48}]


def test_relative_bounds_need_no_reference_in_the_space(toy: ModuleType) -> None:
    keys = {**toy.KEYS, "recipes": ["int4", "int2"], "constraints": ["quality < 1.01x and tpot < 50 %"]}
    result = search(Space.of(**keys), toy.evaluate)
    assert {c.structure.recipe for c in result.front} == {"int4"}
    for c in result.front:
        columns = {name: np.asarray([value]) for name, value in c.point.items()}
        base = toy.evaluate(Structure(c.structure.model, "none", c.structure.machine), columns)["tpot_s"][0]
        assert float(c["tpot"]) < 0.5 * base


def test_winner_is_the_least_of_all_feasible_points(toy: ModuleType, found: Result) -> None:
    space, best = Space.of(**toy.KEYS), math.inf
    for s in space.structures():
        columns = space.columns(0, space.rows)
        t = toy.evaluate(s, columns)
        ok = t["feasible"] & (t["tpot_s"] < 0.05) & (toy.WORSE[s.recipe] < 1.01)
        best = min(best, t["usd_per_mtok"][ok].min(initial=math.inf))
    assert found.winner is not None
    assert found.winner["usd_per_mtok"] == best
    assert found.exit_code == 0


def test_picks_by_other_rules(found: Result) -> None:
    fast = found.pick("min usd_per_mtok where tpot < 4 ms")
    assert float(fast["tpot"]) < 4e-3
    assert fast["usd_per_mtok"] == min(c["usd_per_mtok"] for c in found.front if float(c["tpot"]) < 4e-3)
    assert found.pick("knee") in found.front
    with pytest.raises(DovetailError, match="the best tpot on the front is") as caught:
        found.pick("tpot < 1 us")
    assert caught.value.exit_code == INFEASIBLE


def test_knee_does_not_depend_on_units(toy: ModuleType, found: Result) -> None:
    def in_cents(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        answer = toy.evaluate(structure, columns)
        return {**answer, "usd_per_mtok": answer["usd_per_mtok"] * 100}

    other = search(Space.of(**toy.KEYS), in_cents)
    assert str(other.pick("knee")) == str(found.pick("knee"))


def test_json_has_the_keys_and_quantities_that_scripts_rely_on(found: Result) -> None:
    data = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert {"points", "pruned", "front", "winner"} <= set(data)
    winner = data["winner"]
    assert winner["tpot"]["kind"] == "calibrated"
    assert winner["tpot"]["low"] == pytest.approx(0.9 * winner["tpot"]["value"])
    assert winner["usd_per_mtok"] == {
        **winner["usd_per_mtok"], "low": winner["usd_per_mtok"]["value"], "unit": "USD/Mtok", "source": "toy",
    }  # fmt: skip
    assert isinstance(winner["perplexity"], float | int)
    assert isinstance(winner["batch"], int)


def test_nothing_feasible_names_the_constraint_and_the_nearest(toy: ModuleType) -> None:
    result = search(Space.of(**{**toy.KEYS, "constraints": ["tpot < 0.1 ms", "power < 1 W"]}), _with_power(toy, 0.5))
    assert result.exit_code == INFEASIBLE
    assert result.front == ()
    assert result.winner is None
    assert result.binding == "tpot < 100 µs"
    assert result.nearest is not None
    assert float(result.nearest["tpot"]) == pytest.approx((0.25e-2 + 128e-7) / 3)  # small, int2, fast, batch 1
    assert "'tpot < 100 µs' binds" in result.why
    assert "8.38x too far" in result.why
    assert result.to_json()["feasible"] is False


def test_nothing_fits_says_why_in_the_evaluators_words(toy: ModuleType) -> None:
    keys = {**toy.KEYS, "workload": {"batch": 4096, "prompt": 2048, "output": 1}, "constraints": []}
    result = search(Space.of(**keys), toy.evaluate)
    assert result.binding == "memory"
    assert "GB and 20 GB are free" in result.why
    assert result.infeasible == {"memory": 12}


def test_a_structure_that_cannot_be_is_counted_and_the_rest_found(toy: ModuleType) -> None:
    def picky(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        if structure.recipe == "int2":
            raise DovetailError("the columns do not divide by the group", exit_code=INFEASIBLE)
        return dict(toy.evaluate(structure, columns))

    result = search(Space.of(**{**toy.KEYS, "constraints": []}), picky)
    assert result.infeasible["infeasible"] == 72
    assert {c.structure.recipe for c in result.front} == {"none", "int4"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"perplexity": 1.0}, "the evaluator gives no 'tpot'"),
        ({"perplexity": 1.0, "tpot": np.ones(3)}, "its shape is (3,), there are 2 rows"),
        ({"perplexity": 1.0, "tpot": [object(), object()]}, "neither numbers nor text"),
    ],
)
def test_a_wrong_evaluator_is_told_so(answer: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError) as caught:
        search(Space.of(**ONE, objectives=["quality", "tpot"]), lambda s, c: answer)
    assert said in str(caught.value)


def test_other_errors_of_the_evaluator_pass_through() -> None:
    def broken(structure: Structure, columns: Mapping[str, np.ndarray]) -> Mapping[str, Any]:
        raise DovetailError("unknown machine 'slow'")

    with pytest.raises(DovetailError, match="unknown machine"):
        search(Space.of(**ONE), broken)


def test_unknown_quality_is_infeasible_and_never_wins() -> None:
    result = search(Space.of(**ONE, objectives=["quality"]), lambda s, c: {"quality": np.asarray([np.nan, 3.0])})
    assert [c["batch"] for c in result.front] == [2]
    assert result.infeasible == {"an objective without a value": 1}


def test_axes_can_be_objectives_and_extra_columns_ride_along() -> None:
    result = search(Space.of(**ONE, objectives=["max batch"]), lambda s, c: {"bottleneck": ["memory", "compute"]})
    assert result.winner is not None
    assert (result.winner["batch"], result.winner["bottleneck"]) == (2, "compute")


def test_progress_reaches_the_end(toy: ModuleType) -> None:
    seen: list[tuple[int, int]] = []
    search(Space.of(**toy.KEYS), toy.evaluate, block=5, progress=lambda done, todo: seen.append((done, todo)))
    assert seen[-1] == (216, 216)
    assert seen == sorted(seen)


def _with_power(toy: ModuleType, power: float) -> Any:
    return lambda structure, columns: {**toy.evaluate(structure, columns), "power": power}
