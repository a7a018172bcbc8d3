"""Spaces: what a file means, how many points it has, and how a wrong one is refused."""

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Space

GOOD: dict[str, Any] = {
    "models": ["a"],
    "machines": ["m"],
    "workload": {"batch": [1, 8], "prompt": 64, "output": {"from": 1, "to": 5, "by": 2}},
}


def test_a_file_and_the_same_keys_from_python_are_one_space(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(
        "models: a\nmachines: [m]\nworkload: {batch: [1, 8], prompt: 64, output: {from: 1, to: 5, by: 2}}\n"
        "objectives: [quality, -throughput]\nconstraints:\n- tpot < 50 ms and batch > 1\n"
    )
    same = Space.of(**GOOD, objectives=["perplexity", "throughput"], constraints=["tpot < 0.05", "batch > 1"])
    assert Space.load(path).hash == same.hash
    assert Space.load(path, objectives=["tpot"]).objectives[0].metric == "tpot"
    assert same.hash != Space.of(**GOOD).hash


def test_columns_are_the_product_of_the_axes() -> None:
    space = Space.of(**GOOD)
    columns = space.columns(0, space.rows)
    assert list(zip(*(columns[a.name].tolist() for a in space.axes))) == list(
        itertools.product([1, 8], [64], [1, 3, 5])
    )
    part = space.columns(2, 5)
    assert all(np.array_equal(part[name], columns[name][2:5]) for name in columns)
    assert space.size == 6


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (7, [7]),
        ([4, 2, 4], [4, 2]),
        (np.array([1.0, 2.0]), [1, 2]),
        ({"from": 1, "to": 8, "steps": "log2"}, [1, 2, 4, 8]),
        ({"from": 3, "to": 20, "steps": "log2"}, [3, 6, 12, 20]),
        ({"from": 1, "to": 9, "steps": 3}, [1, 5, 9]),
        ({"from": 1, "to": 3, "steps": 100}, [1, 2, 3]),
        ({"from": 1, "to": 10, "by": 4}, [1, 5, 9]),
        ({"from": 5, "to": 5, "steps": "log2"}, [5]),
    ],
)
def test_axes(axis: Any, values: list[int]) -> None:
    space = Space.of(**{**GOOD, "workload": {"batch": axis, "prompt": 1, "output": 1}})
    assert space.axes[0].values.tolist() == values


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machinez": ["m"]}, "machinez: unknown field 'machinez'. Try: did you mean 'machines'"),
        ({"workload": {"batch": 1, "prompt": 1, "outptu": 1}}, "workload.outptu: unknown field"),
        ({"workload": {"batch": 1, "prompt": 1}}, "workload.output: 'output' is missing"),
        ({"workload": {"batch": {"from": 1, "too": 2, "by": 1}, "prompt": 1, "output": 1}}, "workload.batch.too"),
        (
            {"workload": {"batch": [1, -8], "prompt": 1, "output": 1}},
            "workload.batch.1: it should be at least 1 (it is -8)",
        ),
        ({"workload": {"batch": [], "prompt": 1, "output": 1}}, "workload.batch: it is empty"),
        ({"workload": {"batch": {"from": 9, "to": 2, "by": 1}, "prompt": 1, "output": 1}}, "from 9 is above to 2"),
        ({"workload": {"batch": {"from": 1, "to": 2}, "prompt": 1, "output": 1}}, "give steps"),
        ({"workload": {"batch": 1.5, "prompt": 1, "output": 1}}, "workload.batch: it should be a whole number"),
        ({"workload": 3}, "workload: it should be a mapping"),
        ({"models": []}, "models: it is empty"),
        ({"models": 3}, "models: it should be a list"),
        ({"constraints": ["tpot < 1", "power < 15 GB"]}, "constraints.1: 'GB' is the wrong unit"),
        ({"constraints": ["tpot < 1", "tpot > 2"]}, "contradict each other: 'tpot > 2 s' and 'tpot < 1 s'"),
        ({"constraints": ["batch > 8"]}, "the space is empty: 'batch > 8' leaves no batch (the space has 1 to 8)"),
        ({"objectives": ["tpot", "-tpot"]}, "'tpot' is given twice"),
        ({"objectives": []}, "objectives: it is empty"),
        ({"objectives": ["ttft", "tpot", "power", "area", "price", "mfu"]}, "at most 5"),
        ({"pick": "min power"}, "not one of the objectives"),
    ],
)
def test_refuses_with_the_path(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError) as caught:
        Space.of(**{**GOOD, **changes})
    assert said in str(caught.value)


def test_too_many_points_are_refused_with_their_count_and_without_making_them() -> None:
    huge = {"batch": {"from": 1, "to": 10**9, "by": 1}, "prompt": {"from": 1, "to": 1000, "by": 1}, "output": 1}
    with pytest.raises(DovetailError, match="1,000,000,000,000 points"):
        Space.of(**{**GOOD, "workload": huge})


def test_a_file_that_is_not_there_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(DovetailError, match=r"gone\.yaml"):
        Space.load(tmp_path / "gone.yaml")
    (tmp_path / "bad.yaml").write_text("models: [a\n")
    with pytest.raises(DovetailError, match="line"):
        Space.load(tmp_path / "bad.yaml")


def test_axis_constraints_prune_before_evaluation(toy: ModuleType) -> None:
    space = Space.of(**{**toy.KEYS, "constraints": ["batch >= 4", "prompt < 500"]})
    small, why = space.trimmed()
    assert sum(points for _, points in why) + small.size == space.size
    assert [w for w, _ in why] == ["batch >= 4", "prompt < 500"]
    assert small.axes[0].values.min() == 4
