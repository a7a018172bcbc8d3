"""A guided search whose designs are measured: against an exact search of the same truth, which has a closed form."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.quality_forecast import quality_order
from dovetail.design.resolve import as_model
from dovetail.hardware import load_machine
from dovetail.recipe.recipe import Recipe
from dovetail.search import Space, Structure, Study, search
from dovetail.search.certainty import order
from dovetail.search.codesign import search_space
from dovetail.search.corrected import Corrected
from dovetail.search.dear import Measuring, dear_search
from dovetail.search.guided import guided
from dovetail.search.hypervolume import together
from dovetail.search.lattice import Lattice
from dovetail.search.measuring import SIMULATED
from dovetail.search.timed import Timer, Times
from dovetail.search.warm import warm_start
from dovetail.workload import Workload

KEYS: dict[str, Any] = {
    "models": ["embedded"], "machines": ["host"], "objectives": ["tpot", "throughput", "perplexity"],
    "recipes": ["none", "w8a16", "w4a16-rtn", "w3a16-rtn", "w2a16-rtn", "w8a8"], "constraints": ["perplexity < 1.2x"],
    "workload": {"batch": [1, 2, 4, 8, 16, 32], "prompt": [32, 64, 256], "output": [8, 32]},
}  # fmt: skip
QUALITY = {"none": 20.0, "w8a16": 20.1, "w8a8": 20.4, "w4a16-rtn": 21.5, "w3a16-rtn": 29.0, "w2a16-rtn": 90.0}
SLOWER = {"none": 1.0, "w8a16": 0.8, "w8a8": 0.5, "w4a16-rtn": 1.3, "w3a16-rtn": 1.4, "w2a16-rtn": 1.5}


def tpot(recipe: str, batch: float, prompt: float) -> float:
    """The truth: another order of recipes, and of batches, than the cost model's."""
    return 1e-3 * SLOWER[recipe] * (1 + 0.3 * batch**0.8) * (1 + prompt / 2000)


class Truth:
    """What stands for the computer: how often a time and a quality were measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times: list[tuple[str, int, int, int]] = []
        self.qualities: list[str] = []
        monkeypatch.setattr(Timer, "__call__", self.timed)
        monkeypatch.setattr(Timer, "path", lambda *_: Path("nowhere"))
        monkeypatch.setattr("dovetail.search.dear.measured_quality", self.quality)

    def timed(self, model: Any, machine: Any, recipe: Any, work: Any) -> Times:
        batch, prompt, output = int(work.batch), int(work.prompt), int(work.output)
        self.times.append((recipe.name, batch, prompt, output))
        mean, read = tpot(recipe.name, batch, prompt), 1e-5 * batch * prompt
        return Times((mean, 0.98 * mean, 1.02 * mean), (read, read, read))

    def quality(self, folder: Path, recipe: str, **_: Any) -> Any:
        self.qualities.append(recipe)
        value = QUALITY[recipe]
        return SimpleNamespace(perplexity=value, perplexity_interval=(0.99 * value, 1.01 * value))


def truth(structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same as an evaluator."""
    batch, prompt, output = (columns[name] for name in ("batch", "prompt", "output"))
    each = np.asarray([tpot(structure.recipe, b, p) for b, p in zip(batch, prompt, strict=True)])
    end = 1e-5 * batch * prompt + (output - 1) * each
    return {"tpot": each, "throughput": batch * output / end, "perplexity": QUALITY[structure.recipe]}


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Truth:
    return Truth(monkeypatch)


def costs(found: Any) -> np.ndarray:
    rows = [[float(o.cost(np.asarray(float(c[o.metric])))) for o in found.objectives] for c in found.front]
    return np.asarray(rows).reshape(-1, len(found.objectives))


def test_a_third_of_the_space_measured_has_the_front_of_all_of_it(computer: Truth) -> None:
    space = Space.of(**KEYS)
    found = dear_search(space, space.size // 3, quality=True, speed=True, stop=False)
    exact = search(space, truth)
    assert found.evaluated == len(computer.times) == space.size // 3
    assert len(set(computer.times)) == len(computer.times)
    _, part = together([costs(exact), costs(found)])
    assert part > 0.97 * together([costs(exact), costs(exact)])[1]
    chosen = {(c.structure, tuple(c.point.items())) for c in exact.front}
    mine = {(c.structure, tuple(c.point.items())) for c in found.front}
    assert len(mine & chosen) >= 0.8 * len(mine)
    for c in found.front:
        expected = truth(c.structure, {n: np.asarray([float(v)]) for n, v in c.point.items()})
        assert float(c["tpot"]) == pytest.approx(float(expected["tpot"][0]))
        assert float(c["throughput"]) == pytest.approx(float(expected["throughput"][0]))
        assert float(c["perplexity"]) == expected["perplexity"]
        assert c.label.kinds["tpot"] == c.label.kinds["throughput"] == c.label.kinds["perplexity"] == "measured"
        assert float(c.metrics["tpot_low"]) < float(c["tpot"]) < float(c.metrics["tpot_high"])
        assert float(c.metrics["throughput_low"]) < float(c["throughput"]) < float(c.metrics["throughput_high"])


def test_it_begins_on_the_front_of_the_cost_model_and_says_so(computer: Truth) -> None:
    space = Space.of(**KEYS)
    said: list[str] = []
    found = dear_search(space, 10, quality=True, speed=True, report=said.append)
    with Measuring(space, True, True, said.append, 1.0) as measuring:
        front = search(space, measuring.foreseen()).front
    names = ("batch", "prompt", "output")
    first = {(c.structure.recipe, *(int(float(c[n])) for n in names)) for c in front}
    assert set(computer.times[:5]) <= first
    assert "begun at 5 designs, those that a cheaper evaluator ranks first" in found.certificate()["method"]
    assert "begins at 5 designs" in said[-1] or any("begins at 5 designs" in line for line in said)


def test_quality_is_measured_only_of_recipes_that_are_looked_at(computer: Truth) -> None:
    """Two bits are foreseen to break the constraint by far: few looks never reach them."""
    found = search_space(Space.of(**KEYS), evaluations=8)
    assert computer.times == []  # times are the cost model's
    assert "w2a16-rtn" not in computer.qualities
    assert len(computer.qualities) == len(set(computer.qualities)) < len(KEYS["recipes"])
    assert {c.label.kinds["tpot"] for c in found.front} != {"measured"}


def test_interrupted_it_goes_on_without_measuring_again(
    computer: Truth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space.of(**KEYS)
    whole = dear_search(space, 30, quality=True, speed=True, stop=False)
    computer.times.clear()

    def killed(*design: Any) -> Times:
        if len(computer.times) == 17:
            raise KeyboardInterrupt
        return computer.timed(*design[1:])

    with monkeypatch.context() as patch, Study(tmp_path / "s.sqlite") as study:
        patch.setattr(Timer, "__call__", killed)
        with pytest.raises(KeyboardInterrupt):
            dear_search(space, 30, quality=True, speed=True, stop=False, study=study)
    with Study(tmp_path / "s.sqlite") as study:
        again = dear_search(space, 30, quality=True, speed=True, stop=False, study=study)
    assert again.to_json() == whole.to_json()
    assert again.resumed == 17
    assert len(computer.times) == 30


def test_it_stops_where_nothing_is_certainly_new(computer: Truth) -> None:
    space = Space.of(**{**KEYS, "objectives": ["tpot"]})
    found = dear_search(space, space.size, quality=True, speed=True, sampler="random")
    assert found.evaluated < space.size / 2
    assert "not certainly new" in found.notes[0]
    assert found.winner is not None
    assert (found.winner.structure.recipe, found.winner["batch"], found.winner["prompt"]) == ("w8a8", 1, 32)


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"machines": ["host", "l4"]}, "l4 is not this computer"),
     ({"models": ["Qwen/Qwen3-8B"], "objectives": ["tpot"], "constraints": []}, "weights of Qwen/Qwen3-8B"),
     ({"recipes": ["none", "lookup"]}, "guesses")],
)  # fmt: skip
def test_what_cannot_be_measured_is_told_before_any_work(changes: dict[str, Any], said: str, computer: Truth) -> None:
    with pytest.raises(DovetailError, match="cannot be measured") as caught:
        search_space(Space.of(**{**KEYS, **changes}), evaluations=5, measured=True)
    assert said in str(caught.value)
    assert computer.times == computer.qualities == []


def test_measured_goes_with_guided() -> None:
    with pytest.raises(DovetailError, match="what a guided search looks at"):
        search_space(Space.of(**KEYS), measured=True)


def test_which_order_is_certain_is_said_by_the_measurements(computer: Truth) -> None:
    found = dear_search(Space.of(**KEYS), 30, quality=True, speed=True, sampler="random")
    assert found.winner is not None
    pairs = order(found)
    assert {p.metric for p in pairs} == {"tpot", "throughput"}
    for p in (p for p in pairs if p.metric == "tpot"):
        assert p.value == pytest.approx(float(p.other["tpot"]) / float(found.winner["tpot"]))
        assert (p.low, p.high) == pytest.approx((p.value * 0.98 / 1.02, p.value * 1.02 / 0.98))


ARRAY = {
    "template": "overlay", "format": "integers", "rows": 4, "columns": [8, 16, 32], "lanes": 4, "bandwidth": "8 GB/s",
    "clock": "200 MHz",
}  # fmt: skip


def test_integer_arrays_are_simulated_and_their_quality_is_that_of_integers(
    computer: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(_: Any, model: Any, machine: Any, recipe: Any, work: Any) -> Times:
        if machine.integer_array is None:
            return computer.timed(model, machine, recipe, work)
        cycles = 1e6 / float(machine.integer_array.columns)
        return Times((cycles / 2e8,) * 3)

    def integers(folder: Path, name: str, **_: Any) -> Any:
        return SimpleNamespace(perplexity=2 * QUALITY[name], perplexity_interval=(2 * QUALITY[name],) * 2)

    monkeypatch.setattr(Timer, "__call__", timed)
    monkeypatch.setattr("dovetail.search.dear.integer_quality", integers)
    monkeypatch.setattr("dovetail.search.dear.no_simulator", lambda: "")
    keys = {**KEYS, "recipes": ["none", "w8a8"], "machines": ["host", ARRAY], "constraints": []}
    space = Space.of(
        **{**keys, "workload": {"batch": [1, 2], "prompt": 32, "output": 8}, "objectives": ["tpot", "perplexity"]}
    )
    found = dear_search(space, space.size, quality=True, speed=True, stop=False)
    by = {(c.structure.machine, c.structure.recipe): c for c in found.front}
    assert float(by["host", "w8a8"]["perplexity"]) == QUALITY["w8a8"]
    keys |= {"machines": [ARRAY], "recipes": ["w8a8"], "workload": {"batch": 1, "prompt": 32, "output": 8}}
    rest = Space.of(**keys)
    array = dear_search(rest, 10, quality=True, speed=True, stop=False)
    assert array.winner is not None
    assert (array.evaluated, float(array.winner["columns"])) == (3, 32)
    assert float(array.winner["tpot"]) == pytest.approx(1e6 / 32 / 2e8)
    assert float(array.winner["perplexity"]) == 2 * QUALITY["w8a8"]
    end = float(array.winner["ttft"]) + 7 * float(array.winner["tpot"])  # the prompt is the cost model's
    assert float(array.winner["e2e"]) == pytest.approx(end)
    assert float(array.winner["throughput"]) == pytest.approx(8 / end)
    assert (array.winner.label.source, array.winner.label.kinds["tpot"]) == (SIMULATED, "modelled")


def test_without_a_simulator_an_array_is_refused_before_any_work(
    computer: Truth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovetail.search.dear.no_simulator", lambda: "no Verilator")
    with pytest.raises(DovetailError, match=r"overlay cannot be simulated.*no Verilator"):
        search_space(Space.of(**{**KEYS, "machines": [ARRAY]}), evaluations=5, measured=True)


def test_ratios_that_were_seen_put_a_cheap_evaluator_right_nearest_first() -> None:
    cheap = Corrected(lambda s, c: {"tpot": c["batch"] * 1.0, "tpot_low": c["batch"] * 0.9, "note": "x"})
    a, b, other = Structure("m", "r", "x"), Structure("m", "r", "y"), Structure("m", "q", "y")
    far, columns = Structure("n", "r", "x"), {"batch": np.asarray([1.0, 2.0])}
    assert list(cheap(a, columns)["tpot"]) == [1.0, 2.0]
    cheap.learn(a, columns, {"tpot": np.asarray([3.0, 6.0])})
    for structure, factor in ((a, 3.0), (b, 3.0), (other, 3.0), (far, 1.0)):
        assert np.allclose(cheap(structure, columns)["tpot"], factor * columns["batch"])
    cheap.learn(b, columns, {"tpot": np.asarray([5.0, np.nan])})
    assert cheap.factor("tpot", a) == pytest.approx(3.0)
    assert cheap.factor("tpot", b) == pytest.approx(5.0)
    assert cheap.factor("tpot", Structure("m", "r", "z")) == pytest.approx(3.0)  # the median of 3, 3 and 5
    assert np.allclose(cheap(b, columns)["tpot_low"], 5 * 0.9 * columns["batch"])


def test_models_in_folders_of_one_name_are_measured_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings end in ``a/final`` and ``b/final``: neither has the times or the weights of the other."""
    models = [replace(as_model("embedded"), name="final", folder=tmp_path / part / "final") for part in "ab"]
    applied: list[tuple[Path, Path]] = []

    def apply(self: Recipe, source: Path, out: Path, **_: Any) -> Any:
        applied.append((source, out))
        return SimpleNamespace(path=out)

    def run(self: Timer, model: Any, *_: Any) -> Times:
        return Times((1.0 + models.index(model), 0.0, 9.0))

    monkeypatch.setattr(Recipe, "apply", apply)
    monkeypatch.setattr(Timer, "_run", run)
    machine, recipe, work = load_machine("l4"), Recipe.load("w8a16"), Workload(prompt=8, output=4)
    with Timer(False, 0.1, lambda line: None) as timer:
        for _ in range(2):
            assert [timer(model, machine, recipe, work).tpot[0] for model in models] == [1.0, 2.0]
            paths = [timer.path(model, recipe) for model in models]
            assert paths[0] != paths[1]
    assert applied == [(model.folder, path) for model, path in zip(models, paths, strict=True)]


def test_a_warm_start_is_on_the_front_spread_out_and_begins_with_the_pick() -> None:
    space = Space.of(**{**KEYS, "constraints": ["batch < 32"], "pick": "min tpot"})
    exact, lattice = search(space, truth), Lattice(space.trimmed()[0])
    numbers = warm_start(space, truth, 6)
    places = [lattice.place(n) for n in numbers]
    assert len(set(numbers)) == 6
    assert exact.winner is not None
    assert lattice.names["recipe"][places[0]["recipe"]] == exact.winner.structure.recipe
    front = {(c.structure.recipe, float(c["batch"]), float(c["prompt"]), float(c["output"])) for c in exact.front}
    axes = {axis.name: axis.values for axis in lattice.space.axes}
    for place in places:
        point = [float(axes[name][place[name]]) for name in ("batch", "prompt", "output")]
        assert (lattice.names["recipe"][place["recipe"]], *point) in front
    assert warm_start(space, truth, 3) == numbers[:3]
    nothing = Space.of(**{**KEYS, "constraints": ["tpot < 1 us"]})
    assert len(warm_start(nothing, truth, 6)) == 1  # the nearest miss


def test_a_wrong_cost_model_that_learns_still_spares_measurements() -> None:
    """Ranked by the cost model and begun at its front, against the same search without: twelve looks, eight seeds."""
    space, gaps = Space.of(**{**KEYS, "constraints": []}), {"alone": 0.0, "helped": 0.0}
    exact = costs(search(space, truth))
    foreseen = DesignEvaluator(recipes=space.made)

    def cheap(structure: Structure, columns: Mapping[str, np.ndarray]) -> dict[str, Any]:
        order = quality_order(as_model("embedded"), Recipe.load(structure.recipe))
        return foreseen(structure, columns) | {"perplexity": 20.0 * order}

    start = warm_start(space, cheap, 6)
    for seed in range(8):
        alone = guided(space, truth, 12, sampler="nsga2", seed=seed, batch=2)
        helped = guided(space, truth, 12, sampler="nsga2", seed=seed, batch=2, start=start, cheap=Corrected(cheap))
        whole, *parts = together([exact, costs(alone), costs(helped)])
        for name, part in zip(gaps, parts, strict=True):
            gaps[name] += 1 - part / whole
    assert gaps["helped"] < 0.6 * gaps["alone"]


def test_recipes_of_a_small_model_have_an_order_before_they_are_measured() -> None:
    model = as_model("embedded")
    order = [quality_order(model, Recipe.load(name)) for name in ("none", "w8a16", "w4a16-rtn", "w3a16-rtn")]
    assert order == sorted(order)
    assert order[0] == 1.0
    assert math.isfinite(order[-1])


def test_for_real_on_this_computer(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="measuring runs the model")
    space = Space.of(**{**KEYS, "recipes": ["none", "w8a16"], "constraints": [], "objectives": ["tpot", "throughput"],
                        "workload": {"batch": [1, 2], "prompt": [8, 16], "output": 4}})  # fmt: skip
    found = dear_search(space, 4, quality=False, speed=True, stop=False, seconds=0.02)
    assert found.evaluated == 4
    for c in found.front:
        assert c.label.kinds["tpot"] == "measured"
        assert 0 < float(c.metrics["tpot_low"]) <= float(c["tpot"]) <= float(c.metrics["tpot_high"]) < 10


def test_the_command_measures_and_its_report_shows_the_front_alone(
    computer: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from dovetail.app.cli import main

    (tmp_path / "space.yaml").write_text(json.dumps(KEYS))  # JSON is YAML
    out = tmp_path / "out"
    command = ["search", str(tmp_path / "space.yaml"), "--guided", "9", "--sampler", "random"]
    assert main([*command, "--measured", "--json", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert len(computer.times) == json.loads(said.out)["certificate"]["evaluated"] <= 9
    assert "begins at 4 designs" in said.err
    assert "landscape" not in json.loads((out / "result.json").read_text())
    assert "The Pareto front, with intervals" in (out / "report.html").read_text()
    assert main([*command, "--measured", "--sensitivity"]) == 2
    assert "leave out one of them" in capsys.readouterr().err
