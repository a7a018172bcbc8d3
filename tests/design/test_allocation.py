"""Bits for a target: prices against the estimate of a whole mixed model, the programme's answer, what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dovetail.model
from dovetail.core.errors import DovetailError
from dovetail.design.allocation.allocate import WIDTHS, Allocation, Base, allocate
from dovetail.design.allocation.compress import RECIPE, compress_for
from dovetail.design.allocation.prices import METRICS, groups_of, offered, prices
from dovetail.design.allocation.programme import solve
from dovetail.design.allocation.target import Limit
from dovetail.design.compress import Check
from dovetail.design.estimate import estimate
from dovetail.design.points import flat
from dovetail.design.resolve import Plan
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.recipe.layerwise.calibration import Calibration
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

EMBEDDED = Path(dovetail.model.__file__).parent / "embedded"
TEXT = Calibration(samples=2, tokens=64)
ROUNDED = Recipe.load("w4a16-rtn:group=64")
PI = "raspberry-pi-5"


FEW = Check(speed=False, machines=())


@pytest.fixture(autouse=True, scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pick() -> Callable[..., Allocation]:
    if not (EMBEDDED / "model.safetensors").is_file():
        pytest.skip("the embedded model is not there")
    model = Model.load("embedded")

    def find(*limits: Limit, on: str = PI, work: Workload | None = None) -> Allocation:
        return allocate(
            model, EMBEDDED, load_machine(on), limits, recipe=ROUNDED, work=work, calibration=TEXT,
            how="second-order",
        )  # fmt: skip

    return find


@pytest.mark.parametrize("on", [PI, "h100-sxm", "2 x a100-sxm", "m3-max"])
@pytest.mark.parametrize("work", [Workload(batch=1, prompt=300, output=50), Workload(batch=16, prompt=64, output=9)])
def test_prices_add_up_to_the_estimate_of_the_mixed_model(on: str, work: Workload) -> None:
    """Every metric of a random allocation, within rounding: all of them are sums over operators."""
    model, machine, base, plan = Model.load("embedded"), load_machine(on), Base.of(ROUNDED), Plan()
    found = prices(model, machine, plan, work, base.at, offered(model, machine, base.at, WIDTHS))
    picks = np.random.default_rng(0).integers(len(found.widths), size=len(found.groups))
    bits = {t: found.widths[p] for g, p in zip(found.groups, picks, strict=True) for t in g.tensors}
    whole = flat(estimate(model, machine, work, base.mixed(bits, "mixed"), plan).metrics)
    for metric in METRICS:
        assert found.predicted(metric, picks) == pytest.approx(float(whole[metric]), rel=1e-9), metric


def test_groups_are_what_an_engine_multiplies_in_one_call() -> None:
    model = Model.load("embedded")
    groups = groups_of(model.graph())
    assert [g.name for g in groups[:4]] == ["qkv.0", "o.0", "gate_up.0", "down.0"]
    assert len(groups) == 16
    assert sum(len(g.tensors) for g in groups) == 28
    assert groups[0].tensors == tuple(f"model.layers.0.self_attn.{p}_proj.weight" for p in "qkv")
    assert sum(g.elements for g in groups) == sum(
        int(w.elements) * len(layers) for w, layers in model.graph().weights() if "proj" in w.name
    )


def test_only_widths_with_kernels_are_offered() -> None:
    model, base = Model.load("embedded"), Base.of(ROUNDED)
    assert offered(model, load_machine("h100-sxm"), base.at, WIDTHS) == (4, 8, 16)
    assert offered(model, load_machine(PI), base.at, (8, 3)) == (3, 8, 16)


def test_the_pick_meets_the_target_and_is_better_than_one_width_that_does(pick: Callable[..., Allocation]) -> None:
    found = pick(Limit("tpot", 0.62, relative=True))
    ratio = float(found.estimate.metrics.tpot_s / found.before.metrics.tpot_s)
    assert 0.6 < ratio < 0.62
    times = [found.prices.predicted("tpot", [column] * 16) for column in range(len(found.prices.widths))]
    meets = [found.nats[:, c].sum() for c, time in enumerate(times) if time < 0.62 * float(found.before.metrics.tpot_s)]
    assert found.loss < min(meets)
    assert len({found.prices.widths[p] for p in found.picks}) > 1


def test_a_tighter_target_never_loses_less(pick: Callable[..., Allocation]) -> None:
    losses = [pick(Limit("weights", bound, relative=True)).loss for bound in (0.6, 0.5, 0.45, 0.4, 0.37)]
    assert losses == sorted(losses)
    assert losses[0] < losses[-1]


def test_several_limits_hold_together(pick: Callable[..., Allocation]) -> None:
    found = pick(Limit("tpot", 0.7, True), Limit("memory", 12.3e6, strict=False), Limit("energy_per_token", 0.8, True))
    after, before = found.estimate.metrics, found.before.metrics
    assert float(after.tpot_s) < 0.7 * float(before.tpot_s)
    assert float(after.memory.total) <= 12.3e6
    assert float(after.energy_per_token_j) < 0.8 * float(before.energy_per_token_j)


def test_a_target_on_quality_alone_takes_the_fastest(pick: Callable[..., Allocation]) -> None:
    tight, loose = (pick(Limit("perplexity", bound, True)) for bound in (1.005, 1.05))
    assert tight.loss <= np.log(1.005)
    assert float(loose.estimate.metrics.tpot_s) < float(tight.estimate.metrics.tpot_s)
    cheaper = [
        pick for pick in range(len(tight.prices.widths)) if tight.nats[:, pick].sum() <= np.log(1.005)
    ]  # one width everywhere
    best = min(tight.prices.predicted("tpot", [p] * 16) for p in cheaper)
    assert float(tight.estimate.metrics.tpot_s) <= best


def test_a_limit_on_quality_beside_others_is_no_resource_more(
    pick: Callable[..., Allocation], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What loses least within the others decides: it is within the limit on quality, or nothing is."""
    resources: list[int] = []

    def watched(losses: list[Any], needs: list[Any], limits: Any) -> tuple[int, ...] | None:
        resources.append(len(limits))
        return solve(losses, needs, limits)

    monkeypatch.setattr(f"{allocate.__module__}.solve", watched)
    hard = Limit("tpot", 0.62, True)
    least = pick(hard)
    loose, tight = (Limit("perplexity", float(np.exp(least.loss * factor)), True) for factor in (1.01, 0.99))
    assert pick(hard, loose).picks == least.picks
    with pytest.raises(DovetailError, match=f"perplexity of {np.exp(least.loss):.4g}x is the least"):
        pick(hard, tight)
    assert set(resources) == {1}


def test_where_bits_change_no_time_the_smallest_is_taken(pick: Callable[..., Allocation], toy: Machine) -> None:
    """On a machine that unpacks weights at load, widths change neither time nor memory, and nothing is lost."""
    unpacking = replace(toy, stack=replace(toy.stack, packed_weights=False, unpacks=True))
    with pytest.raises(DovetailError, match="cannot be reached") as caught:
        allocate(
            Model.load("embedded"), EMBEDDED, unpacking, [Limit("tpot", 0.9, True)], recipe=ROUNDED, calibration=TEXT
        )
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("limits", "on", "words"),
    [
        ([Limit("tpot", 0.1, True)], PI, ["tpot < 0.1x", "at best", "2, 3, 4, 5, 6, 8 bits", "tpot <= 0.59x"]),
        ([Limit("tpot", 1e-9)], "h100-sxm", ["cannot be reached", "4, 8 bits have kernels"]),
        ([Limit("weights", 0.4, True)], "v100-sxm", ["cannot be reached"]),
        ([Limit("tpot", 0.6, True), Limit("perplexity", 1.0001, True)], PI, ["cannot be met", "within the others"]),
    ],
)
def test_what_cannot_be_reached_says_what_binds(
    pick: Callable[..., Allocation], limits: list[Limit], on: str, words: list[str]
) -> None:
    with pytest.raises(DovetailError) as caught:
        pick(*limits, on=on)
    assert caught.value.exit_code == 3
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("none", "bits cannot be chosen"), ("prune50", "bits cannot be chosen"), ("w4a8", "bits cannot be chosen")],
)
def test_recipes_without_bits_to_pick_are_refused(recipe: str, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        Base.of(Recipe.load(recipe))
    with pytest.raises(DovetailError, match="bits of its own"):
        Base.of(Recipe.load([{"rtn": {"layers": {"*": 4}}}]))


@pytest.mark.parametrize(
    ("limit", "words"),
    [(Limit("throughput", 1.0), "no target"), (Limit("tpot", 0.0), "nothing meets"), (Limit("tpot", -1.0), "nothing")],
)
def test_targets_that_are_none_are_refused(pick: Callable[..., Allocation], limit: Limit, words: str) -> None:
    with pytest.raises(DovetailError, match=words):
        pick(limit)
    with pytest.raises(DovetailError, match="no target"):
        pick()


def test_the_recipe_beside_the_weights_makes_the_same_weights(tmp_path: Path, pick: Callable[..., Allocation]) -> None:
    text = tmp_path / "text.txt"
    text.write_text("def joined(words):\n    return ' '.join(words)\n" * 40)
    found = compress_for(
        "embedded", PI, [Limit("tpot", 0.65, True)], tmp_path / "out", recipe=ROUNDED, calibration=TEXT,
        check=Check(text=text, speed=False),
    )  # fmt: skip
    assert found["met"]
    assert found["predicted"]["tpot"]["ratio"] < 0.65
    assert {row["bits"] for row in found["allocation"]} <= {*WIDTHS, 16}
    assert sum(row["nats"] for row in found["allocation"]) == pytest.approx(
        np.log(found["predicted"]["perplexity"]["ratio"])
    )
    held = Recipe.load(tmp_path / "out" / RECIPE)
    held.apply(EMBEDDED, tmp_path / "again")
    one, two = (tmp_path / name / "model.safetensors" for name in ("out", "again"))
    assert one.read_bytes() == two.read_bytes()
    weights = estimate("embedded", PI, Workload(), held).memory()["weights"].value
    assert weights == found["bytes_after"]["value"] == found["predicted"]["weights"]["after"]["value"]


@pytest.fixture
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("def joined(words):\n    return ' '.join(words)\n" * 40)
    return path


Asked = Callable[..., dict[str, Any]]


@pytest.fixture
def optimist(monkeypatch: pytest.MonkeyPatch, text: Path, tmp_path: Path) -> Asked:
    """`compress_for` a perplexity that takes more bits than it believes, however often it is corrected."""

    def believed(*args: Any, correction: float, **named: Any) -> Allocation:
        found = allocate(*args, correction=0.01, how="second-order", **named)
        return replace(found, correction=correction)

    def ask(**named: Any) -> dict[str, Any]:
        monkeypatch.setattr(f"{compress_for.__module__}.allocate", named.pop("allocate", believed))
        options = {"recipe": ROUNDED, "calibration": TEXT, "check": replace(FEW, text=text)}
        return compress_for("embedded", PI, [Limit("perplexity", 1.05, True)], tmp_path / "out", **options | named)

    ask.believed = believed  # type: ignore[attr-defined]
    return ask


def test_only_the_last_attempt_is_measured_in_full(
    optimist: Asked, tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    timed: list[Path] = []

    def speed_here(model: Model, how: Recipe, before: Path, after: Path, report: object) -> list[Any]:
        timed.append(after)
        return []

    monkeypatch.setattr("dovetail.design.compress.speed_here", speed_here)
    found = optimist(report=said.append, check=Check(text=text, machines=()))
    assert found["met"] is False
    assert len([line for line in said if line.startswith("applying")]) == 3
    assert len([line for line in said if line.endswith("picking again")]) == 2
    assert len(timed) == 1
    assert "corrected by a measurement" in found["predicted"]["perplexity"]["after"]["source"]
    assert Recipe.load(tmp_path / "out" / RECIPE).methods
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_attempt_that_finds_no_bits_leaves_nothing(optimist: Asked, tmp_path: Path) -> None:
    before: list[float] = []

    def once(*args: Any, correction: float, **named: Any) -> Allocation:
        before.append(correction)
        if len(before) > 1:
            raise DovetailError("cannot be met", exit_code=3)
        return optimist.believed(*args, correction=correction, **named)  # type: ignore[attr-defined, no-any-return]

    with pytest.raises(DovetailError, match="cannot be met"):
        optimist(allocate=once, recipe=Recipe.load("w4a16-gptq:group=64"))
    assert before[1] > 1
    assert not list(tmp_path.iterdir())


def test_a_stop_in_a_later_attempt_costs_no_earlier_one(optimist: Asked, tmp_path: Path) -> None:
    said: list[str] = []

    def stopping(line: str) -> None:
        said.append(line)
        if [one for one in said if one.startswith("layer 2 of 4")][1:]:
            raise KeyboardInterrupt

    method = Recipe.load("w4a16-gptq:group=64")
    with pytest.raises(KeyboardInterrupt):
        optimist(recipe=method, report=stopping)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.layers", ".out.layers-2"]
    said.clear()
    optimist(recipe=method, report=said.append)
    assert [line for line in said if line.startswith("going on")] == [f"going on after layer {k} of 4" for k in (4, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_recipe_that_cannot_be_written_leaves_nothing(
    optimist: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, words: str) -> None:
        raise DovetailError("could not write", where=str(path))

    monkeypatch.setattr(f"{compress_for.__module__}.write_text", full)
    with pytest.raises(DovetailError, match=r"could not write|recipe\.yaml"):
        optimist()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({}, "was not written by dovetail"),
        ({"out": "new", "format": "gguff"}, "unknown format"),
        ({"out": "new", "check": Check(text=Path("/no/such/text"))}, "cannot read the text"),
        ({"out": "new", "check": Check(quality=False, tasks=("arc_esy",))}, r"'lm_eval' is needed|no task 'arc_esy'"),
    ],
)
def test_what_no_bits_would_mend_is_refused_before_they_are_picked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: dict[str, Any], words: str
) -> None:
    def picked(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"{compress_for.__module__}.allocate", picked)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("ten years")
    out = tmp_path / named.pop("out", "mine")
    with pytest.raises(DovetailError, match=words):
        compress_for("embedded", PI, [Limit("tpot", 0.7, True)], out, calibration=TEXT, **named)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
