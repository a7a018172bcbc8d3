"""Spaces with stages of a pipeline: exact search against brute force, bounds against random chips, what is kept."""

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dovetail.app.question import placed
from dovetail.app.report.verb import _next as report_next
from dovetail.app.search_screen import _next
from dovetail.core.errors import DovetailError
from dovetail.core.manifest import manifest
from dovetail.design import Plan, estimate
from dovetail.hardware import load_machine
from dovetail.hardware.templates.template import TEMPLATES
from dovetail.search import Space, Structure, Study, search
from dovetail.search.codesign import evaluator, search_space
from dovetail.search.guided import guided
from dovetail.search.lattice import Lattice
from dovetail.search.published_schema import json_schema
from dovetail.search.realise import build_from, found_in
from dovetail.search.replay import replay_search
from dovetail.search.why_not import why_not
from dovetail.workload import Workload

MODEL = "meta-llama/Llama-3.1-8B"
KEYS: dict[str, Any] = {
    "models": [MODEL], "recipes": ["none", "fp8"], "machines": ["l4", "2 x l4", "l40s"],
    "plan": {"tp": [1, 2], "pp": [1, 2, 3]}, "workload": {"batch": [1, 4, 32], "prompt": [256, 2048], "output": 64},
    "objectives": ["ttft", "tpot", "usd_per_mtok"], "constraints": ["tpot < 80 ms"],
}  # fmt: skip


def test_exact_search_is_brute_force() -> None:
    """One estimate for each point, which needs no search; two chips have a plan with both, or are replicas."""
    space = Space.of(**KEYS)
    found = search(space, evaluator(space))
    rows: dict[tuple[Any, ...], tuple[float, ...]] = {}
    for recipe, on, tp, pp, batch, prompt in itertools.product(*(
        KEYS["recipes"], KEYS["machines"], (1, 2), (1, 2, 3), (1, 4, 32), (256, 2048),
    )):  # fmt: skip
        chips = tp * pp if not on.startswith("2") else 2
        if chips % (tp * pp):
            continue
        machine = load_machine(f"{chips} x {on.removeprefix('2 x ')}")
        one = estimate(MODEL, machine, Workload(prompt=prompt, output=64, batch=batch), recipe, Plan(tp, pp))
        if one.feasible and one.metrics.tpot_s < 0.080:
            costs = (one.metrics.ttft_s, one.metrics.tpot_s, one.metrics.usd_per_token * 1e6)
            rows[recipe, on, tp, pp, float(batch), float(prompt)] = tuple(map(float, costs))
    kept = {
        key for key, mine in rows.items()
        if not any(all(a <= b for a, b in zip(other, mine, strict=True)) and other != mine for other in rows.values())
    }  # fmt: skip
    front = {
        (s.recipe, s.machine, s.tp, s.pp, float(c["batch"]), float(c["prompt"])): tuple(
            float(c[name]) for name in ("ttft", "tpot", "usd_per_mtok")
        )
        for c in found.front for s in [c.structure]
    }  # fmt: skip
    vectors = {tuple(round(x, 12) for x in rows[key]) for key in kept}  # of equal ones the first is kept
    assert front.keys() <= kept
    assert {tuple(round(x, 12) for x in values) for values in front.values()} == vectors
    assert found.points == space.size == 2 * 3 * 6 * 6
    assert {s.pp for s in (c.structure for c in found.front)} > {1}


CHIP = {
    "template": "gpu-like", "sms": {"from": 32, "to": 160, "steps": 6}, "bandwidth": ["1 TB/s", "2 TB/s", "4 TB/s"],
    "link": ["50 GB/s", "400 GB/s"], "capacity": ["24 GB", "80 GB"],
}  # fmt: skip
BOUNDED = KEYS | {
    "machines": [CHIP], "constraints": ["area < 3000 mm2"], "objectives": ["tpot", "ttft", "energy_per_token", "area"],
    "workload": {"batch": [1, 32], "prompt": 1000, "output": 100},
}  # fmt: skip


def test_the_pruned_front_is_the_whole_one() -> None:
    space = Space.of(**BOUNDED)
    ask = evaluator(space)
    found, whole = search(space, ask), search(space, ask, prune=False)
    assert found.front == whole.front != ()
    assert found.evaluated < whole.evaluated
    assert found.evaluated + sum(n for _, n in found.pruned) == space.size
    assert {c.structure.pp for c in found.front} > {1}


@pytest.mark.parametrize("plan", [(1, 2), (2, 2), (1, 3), (2, 3)])
def test_no_chip_between_is_better_than_its_bound(plan: tuple[int, int]) -> None:
    rng, count = np.random.default_rng(plan), 200
    space = Space.of(**BOUNDED)
    ask, names = evaluator(space), [axis.name for axis in space.axes_of("gpu-like")[len(space.axes) :]]
    known = {p.name: p for p in TEMPLATES["gpu-like"].parameters}
    ends = {
        n: np.sort(np.exp(rng.uniform(np.log(v.min()), np.log(v.max()), (2, count))), axis=0)
        for n, v in ((a.name, a.values) for a in space.axes_of("gpu-like") if a.name in names)
    }  # fmt: skip
    ends = {n: np.round(v) if known[n].whole else v for n, v in ends.items()}
    work = {"batch": rng.integers(1, 64, count), "prompt": rng.integers(1, 4000, count), "output": np.full(count, 50)}
    low, high = ({n: v[i] for n, v in ends.items()} | work for i in (0, 1))
    inside = {n: rng.uniform(low[n], high[n]) for n in names} | work
    inside |= {n: np.clip(np.round(inside[n]), low[n], high[n]) for n in names if known[n].whole}
    for recipe in KEYS["recipes"]:
        structure = Structure(MODEL, recipe, "gpu-like", *plan)
        bound, found = ask.bound(structure, low, high), ask(structure, inside)
        assert bound is not None
        for name in ("ttft", "tpot", "e2e", "energy_per_token", "usd_per_mtok", "power", "area", "memory", "excess"):
            if name in bound:
                assert (np.asarray(bound[name][0]) <= np.asarray(found[name]) * (1 + 1e-12)).all(), name
        assert (np.asarray(bound["throughput"][1]) >= np.asarray(found["throughput"]) * (1 - 1e-12)).all()
        assert not (np.asarray(found["feasible"]) & ~np.asarray(bound["feasible"][1], bool)).any()


def test_the_hash_of_spaces_without_stages_stays() -> None:
    plain = {**KEYS, "machines": ["h100-sxm"]}
    hashes = {
        "966639b305107e36": {**plain, "plan": None}, "9503719a8b9e71de": {**plain, "plan": {"tp": [1, 2]}},
    }  # fmt: skip
    for start, keys in hashes.items():
        assert Space.of(**keys).hash.startswith(start)
    with_stages = [Space.of(**{**plain, "plan": {"tp": [1, 2], "pp": pp}}).hash for pp in ([1], [1, 2], [2])]
    assert len({*with_stages, Space.of(**hashes["9503719a8b9e71de"]).hash}) == 4


def test_places_of_a_lattice_go_there_and_back() -> None:
    space = Space.of(**KEYS)
    lattice = Lattice(space)
    assert lattice.size == space.size
    for index in range(0, space.size, 7):
        place = lattice.place(index)
        assert lattice.index(place) == index
        structure = lattice.structures[lattice.structure(index)]
        assert structure.pp == space.pipes[place["pp"]]
    draw = np.random.default_rng(0)
    assert {lattice.structures[lattice.structure(lattice.neighbour(0, draw))].pp for _ in range(200)} == {1, 2, 3}


def test_a_study_resumes_exports_and_belongs_to_its_stages(tmp_path: Path) -> None:
    space = Space.of(**KEYS)
    path = tmp_path / "a.study"
    with Study(path) as study:
        once = search(space, evaluator(space), study)
    with Study(path) as study:
        again = search(space, evaluator(space), study)
        assert again.resumed > 0
        assert again.front == once.front == found_in(study).front
        rows = json.loads(study.export(tmp_path / "rows.json").read_text())
    assert {(row["tp"], row["pp"]) for row in rows} == set(itertools.product((1, 2), (1, 2, 3)))
    for plan in ({"tp": [1, 2]}, {"tp": [1, 2], "pp": [1, 2]}):
        other = Space.of(**{**KEYS, "plan": plan})
        with Study(path) as study, pytest.raises(DovetailError, match="other pipes"):
            search(other, evaluator(other), study)


def test_a_replay_a_guided_search_and_why_not(tmp_path: Path) -> None:
    file = tmp_path / "space.json"  # JSON is YAML
    file.write_text(json.dumps(KEYS))
    found = search_space(file)
    command = shlex.join(["dovetail", "search", str(file), "--out", "x", "--json"])
    (tmp_path / "manifest.json").write_text(json.dumps(manifest(command, [file])))
    (tmp_path / "result.json").write_text(json.dumps(found.to_json()))
    assert replay_search(tmp_path / "manifest.json").answer == ()
    space = Space.load(file)
    ask = evaluator(space)
    sampled = guided(space, ask, space.size, sampler="random")
    assert {str(c) for c in sampled.front} <= {str(c) for c in found.front} != set()
    deep = next(c for c in found.front if c.structure.pp > 1)
    assert f"pp {deep.structure.pp}" in str(deep)
    assert deep.to_json()["pp"] == deep.structure.pp
    s = deep.structure
    asked = f"recipe={s.recipe} machine={s.machine} tp={s.tp} pp={s.pp} batch={deep['batch']} prompt={deep['prompt']}"
    assert why_not(space, ask, found, asked).on_front
    worse = why_not(space, ask, found, "recipe=none machine=l40s tp=1 pp=3 batch=1 prompt=2048")
    assert not worse.on_front
    with pytest.raises(DovetailError, match="the space has no pp '5'"):
        why_not(space, ask, found, "pp=5")


def test_more_stages_than_layers_are_a_plan_that_cannot_be() -> None:
    space = Space.of(**{**KEYS, "machines": ["l40s"], "plan": {"tp": 1, "pp": [2, 33]}})
    found = search(space, evaluator(space))
    assert {c.structure.pp for c in found.front} == {2}
    assert found.infeasible["pp"] == 2 * 6
    none = Space.of(**{**KEYS, "machines": ["l40s"], "plan": {"pp": 33}})
    assert "32 layers do not fill 33 stages" in search(none, evaluator(none)).why


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({}, "plan: it says nothing"), ({"pp": 0}, r"plan\.pp\.0: it should be at least 1"),
        ({"pp": [1, 1.5]}, r"plan\.pp\.1: it should be a whole number"), ({"pp": []}, r"plan\.pp: it is empty"),
        ({"tp": 1, "stages": 2}, "unknown field 'stages'"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_read(plan: dict[str, Any], said: str) -> None:
    with pytest.raises(DovetailError, match=said):
        Space.of(**{**KEYS, "plan": plan})


def test_the_schema_knows_stages() -> None:
    plan = json_schema()["$defs"]["PlanFile"]
    assert plan["properties"].keys() == {"tp", "pp"}
    assert "required" not in plan


def test_a_picked_design_is_served_in_its_stages(tmp_path: Path) -> None:
    keys = {
        "models": ["embedded"], "recipes": ["none"], "machines": ["h100-sxm"], "plan": {"tp": 2, "pp": 2},
        "workload": {"batch": 4, "prompt": 64, "output": 16}, "objectives": ["tpot"],
    }  # fmt: skip
    space = Space.of(**keys)
    with Study(tmp_path / "a.study") as study:
        search(space, evaluator(space), study)
    made = build_from(tmp_path / "a.study", "min tpot", tmp_path / "out")
    words = shlex.split(made["serve"])
    flags = dict(itertools.pairwise(words))
    assert (flags["--tensor-parallel-size"], flags["--pipeline-parallel-size"]) == ("2", "2")
    assert made["design"]["pp"] == made["prediction"]["pp"] == 2
    assert made["prediction"]["tpot"]["value"] == pytest.approx(made["design"]["tpot"]["value"])
    assert "--pipeline-parallel-size 2" in (tmp_path / "out" / "serve.sh").read_text()


def test_the_next_command_and_the_report_have_the_plan() -> None:
    space = Space.of(
        **{**KEYS, "machines": ["l40s"], "recipes": ["fp8"], "plan": {"tp": 2, "pp": 2}, "pick": "min tpot"}
    )
    found = search(space, evaluator(space))
    assert found.winner is not None
    following = shlex.join(_next(found.winner))
    assert following.startswith(f"dovetail estimate {MODEL} --on '4 x l40s'")
    assert following.endswith("--tp 2 --pp 2")
    words = report_next("search", json.loads(json.dumps(found.to_json())))
    assert words == f"dovetail build {MODEL} --on '4 x l40s' --recipe fp8 --tp 2 --pp 2 --out out"
    assert placed("gone.yaml", 2, 2) == "gone.yaml"
    assert placed("2 x l40s", 2, 1) == "2 x l40s"
