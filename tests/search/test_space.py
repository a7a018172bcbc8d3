"""Spaces: what a file means, how many points it has, and how a wrong one is refused."""

import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.search import Space
from dovetail.search.published_schema import json_schema

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


GPU = {"template": "gpu-like", "sms": [66, 132], "bandwidth": {"from": "1 TB/s", "to": "4 TB/s", "steps": 4}}


def test_free_parameters_are_axes_of_their_machine_alone() -> None:
    space = Space.of(**{**GOOD, "machines": ["m", {**GPU, "like": ["h100-sxm", "l40s"], "l2": "40 MB"}]})
    assert space.machines == ("m", "gpu-like h100-sxm", "gpu-like l40s")
    assert space.size == 6 + 2 * 6 * 8 == space.offsets()[-1]
    assert [a.name for a in space.axes_of("gpu-like l40s")] == ["batch", "prompt", "output", "sms", "bandwidth"]
    assert space.free[0].variant.fixed == {"l2": 40e6}
    columns = space.columns(0, 48, "gpu-like l40s")
    assert columns["bandwidth"][:5].tolist() == [1e12, 2e12, 3e12, 4e12, 1e12]
    assert space.hash != Space.of(**{**GOOD, "machines": ["m", GPU]}).hash


def test_recipes_by_group_of_layers() -> None:
    entry = {"method": "rtn", "group": 64, "bits": {"attention": [4, 8], "mlp": [3, 16]}}
    space = Space.of(**{**GOOD, "recipes": ["none", entry]})
    assert space.recipes[:2] == ("none", "rtn (attention 4, mlp 3)")
    assert len(space.recipes) == 5
    assert space.made["rtn (attention 8, mlp 16)"]["methods"] == [
        {"rtn": {"bits": 4, "group": 64, "symmetric": True, "act_bits": 16, "layers": (("*attn*", 8), ("*mlp*", 16))}}
    ]


def test_plans_are_structures() -> None:
    space = Space.of(**{**GOOD, "plan": {"tp": [1, 2]}})
    assert [s.tp for s in space.structures()] == [1, 2]
    assert space.size == 12


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"machines": [{"template": "gpu-lik"}]}, "did you mean 'gpu-like'"),
        (
            {"machines": [{**GPU, "smz": 3}]},
            "machines.0: unknown parameter of 'gpu-like': 'smz'. Try: did you mean 'sms'",
        ),
        ({"machines": [{**GPU, "l2": "40 GB/s"}]}, "machines.0.l2: '40 GB/s' has the wrong unit"),
        ({"machines": [{**GPU, "l2": 40}]}, "machines.0.l2: '40' has the wrong unit"),
        ({"machines": [{**GPU, "sms": {"from": 9, "to": 4, "by": 1}}]}, "machines.0.sms: it is empty"),
        ({"machines": [{**GPU, "sms": {"from": 4, "to": 9}}]}, "machines.0.sms: a range has from, to"),
        ({"machines": [{**GPU, "sms": 2.5}]}, "it takes a whole number"),
        ({"machines": [{**GPU, "sms": []}]}, "machines.0.sms: it is empty"),
        ({"machines": [{**GPU, "like": "h100"}]}, "unknown choice: 'h100'. Try: did you mean 'h100-sxm'"),
        ({"machines": [GPU, GPU]}, "two machines are called 'gpu-like'"),
        ({"machines": [3]}, "a machine is a name, or a template"),
        ({"recipes": [{"method": "rtnn", "bits": {"attention": 8}}]}, "recipes.0"),
        ({"recipes": [{"method": "rtn", "bits": 4}]}, "recipes.0.bits: bits are given by group"),
        ({"recipes": [7]}, "recipes.0: a recipe is a name or a mapping"),
        ({"plan": {"tpp": [1]}}, "plan.tpp: unknown field 'tpp'. Try: did you mean 'tp'"),
        ({"machines": [GPU], "constraints": ["sms < 2"]}, "the space is empty: 'sms < 2' leaves no sms"),
        ({"machines": [GPU], "constraints": ["bandwidth < 2 TB"]}, "'TB' is the wrong unit for 'bandwidth'"),
        ({"constraints": ["bandwith < 2 TB/s"]}, "did you mean 'bandwidth'"),
    ],
)
def test_refuses_free_parameters_with_the_path(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError) as caught:
        Space.of(**{**GOOD, **changes})
    assert said in str(caught.value)


def test_too_many_points_offer_the_guided_way() -> None:
    chip = {
        **GPU,
        "bandwidth": {"from": "1 TB/s", "to": "9 TB/s", "steps": 10**6},
        "l2": {"from": "1 MB", "to": "900 MB", "steps": 10**6},
    }
    with pytest.raises(DovetailError, match="2,000,000,000,000 points are more than exact search takes") as caught:
        Space.of(**{**GOOD, "machines": [chip], "workload": {"batch": 1, "prompt": 1, "output": 1}})
    assert "--guided" in caught.value.hint


def test_the_json_schema_knows_every_template() -> None:
    schema = json_schema()
    chip = next(s for s in schema["properties"]["machines"]["items"]["anyOf"] if s.get("title") == "gpu-like")
    assert {"template", "name", "sms", "bandwidth", "like"} <= set(chip["properties"])
    assert chip["properties"]["like"]["anyOf"][0]["enum"][0] == "h100-sxm"
    assert "3.35 TB/s" in str(chip["properties"]["bandwidth"])
    assert schema["properties"]["objectives"]["maxItems"] == 5
