"""What a search sees of a design is what an estimate says of it; crossovers follow from both."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.design import estimate
from dovetail.design.crossover import Gain, gains
from dovetail.design.evaluator import DesignEvaluator
from dovetail.design.points import flat
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.runtime.perplexity import Quality
from dovetail.workload import Workload

MODEL = "Qwen/Qwen2.5-0.5B"
COLUMNS = {
    "prompt": np.array([64, 900, 31_000, 40_000]),
    "output": np.array([1, 100, 1000, 10]),
    "batch": np.array([1, 8, 400, 2]),
}


@pytest.mark.parametrize(("recipe", "machine"), [("none", "h100-sxm"), ("w4a16-rtn", "2 x l4"), ("w8a16", "toy")])
def test_columns_are_the_estimates(toy: Machine, recipe: str, machine: str) -> None:
    evaluate = DesignEvaluator(machines={"toy": toy})
    found = evaluate(SimpleNamespace(model=MODEL, recipe=recipe, machine=machine), COLUMNS)
    for row in range(4):
        work = Workload(**{name: int(column[row]) for name, column in COLUMNS.items()})
        alone = estimate(MODEL, toy if machine == "toy" else machine, work, recipe)
        for name, value in flat(alone.metrics).items():
            assert found[name][row] == pytest.approx(value, rel=1e-12)
        for name in ("ttft", "tpot", "throughput", "energy_per_token"):
            q = getattr(alone, name)
            assert (found[f"{name}_low"][row], found[f"{name}_high"][row]) == pytest.approx((q.low, q.high))
            assert found["kinds"][name] == q.kind
        assert found["why"](row) == "; ".join(alone.why)
        assert bool(found["feasible"][row]) is alone.feasible is bool(found["excess"][row] <= 1)
    assert list(found["limit"]) == ["memory", "memory", "memory", "context"]


def test_measured_quality_is_passed_on_and_changes_the_fingerprint(toy: Machine) -> None:
    where = SimpleNamespace(model=MODEL, recipe="none", machine="toy")
    quality = Quality(2.5, 2.4, 2.6, 1.0, 100, ((250.0, 100),))
    evaluate = DesignEvaluator({(MODEL, "none"): quality}, {"toy": toy})
    found = evaluate(where, COLUMNS)
    assert found["kinds"]["perplexity"] == "measured"
    names = ("perplexity_low", "perplexity", "perplexity_high")
    assert [found[name] for name in names] == pytest.approx(np.exp([2.4, 2.5, 2.6]))
    plain = DesignEvaluator(machines={"toy": toy})
    assert "perplexity" not in plain(where, COLUMNS)
    others = (plain, DesignEvaluator(machines={"toy": replace(toy, link=2e10)}), DesignEvaluator())
    assert len({e.fingerprint for e in (evaluate, *others)}) == 4
    assert DesignEvaluator(machines={"toy": toy}).fingerprint == plain.fingerprint


def test_gains_are_ratios_of_estimates_at_each_context() -> None:
    model, machine = Model.load(MODEL), load_machine("h100-sxm")
    batches, contexts = [1, 16, 256], [128, 2048]
    found = gains(model, machine, ["none", "w4a16-rtn"], batches, contexts, metric="tpot")
    assert [(g.recipe, g.context) for g in found] == [(r, c) for c in contexts for r in ("none", "w4a16-rtn")]
    for gain in found:
        for batch, value in zip(batches, gain.gain):
            work = Workload(prompt=gain.context, output=2, batch=batch)
            base, own = (estimate(model, machine, work, recipe).metrics.tpot_s for recipe in ("none", gain.recipe))
            assert value == pytest.approx(base / own, rel=1e-12)


def test_packing_weights_pays_less_the_larger_the_batch() -> None:
    (gain,) = gains(
        Model.load("meta-llama/Llama-3.1-8B"), load_machine("h100-sxm"), ["w4a16-rtn"], [1, 8, 64, 512], [128]
    )
    assert gain.gain[0] > 1.5
    assert np.all(np.diff(gain.gain) < 0)
    assert gain.stops_at() in (64, 512)


def test_what_does_not_fit_has_no_gain() -> None:
    found = gains(Model.load("meta-llama/Llama-3.1-8B"), load_machine("l4"), ["w4a16-rtn"], [1, 10_000], [2048])
    assert np.isnan(found[0].gain[1])


def test_the_batch_where_a_gain_ends() -> None:
    gain = Gain("r", 128, np.array([1, 2, 4, 8]), np.array([2.0, 1.2, np.nan, 0.9]))
    assert gain.stops_at() == 8
    assert gain.stops_at(1.2) == 2
    assert gain.stops_at(0.5) is None


def test_where_a_recipe_surely_pays_and_surely_loses_as_far_as_both_fit() -> None:
    batch, nan = np.array([1, 2, 4, 8, 16]), np.nan
    gain = np.array([1.4, 1.1, 0.9, 0.7, nan])
    found = Gain("x", 1, batch, gain, gain / 1.2, gain * 1.2)
    assert (found.surely_until(), found.never_from()) == (1, 8)
    assert Gain("x", 1, batch, gain * 2, gain * 1.5, gain * 3).never_from() is None
    assert Gain("x", 1, batch, gain * nan, gain * nan, gain * nan).never_from() is None


def test_a_gain_in_what_is_not_a_time_is_refused(toy: Machine, llama: Model) -> None:
    with pytest.raises(DovetailError, match="did you mean 'tpot'"):
        gains(llama, toy, ["none"], [1], [16], metric="tpto")
