"""Plans and ranges of converters against every other choice there is."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.crossbar.adc import Adc
from dovetail.crossbar.calibrate import best_steps, calibrated, candidates
from dovetail.crossbar.cells import ENCODINGS, Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.engine import Engine
from dovetail.crossbar.inputs import Inputs
from dovetail.crossbar.layer import Layer, Setup, write
from dovetail.crossbar.plan import MOST, Choices, choices, plan, planned, within
from dovetail.crossbar.sums import histograms
from dovetail.hardware.adc import adc_model


def layer_of(adc: Adc, encoding: str = "differential", size: int = 48) -> tuple[Layer, np.ndarray]:
    rng = np.random.default_rng(2)
    setup = Setup(Cells(2, encoding), Arrays(32, 32), adc, Inputs(4))
    return write(FixedPoint(8).codes(rng.normal(size=(20, size))), setup), rng.integers(
        0, 16, (30, size), dtype=np.int32
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_histograms_count_every_conversion(encoding: str) -> None:
    layer, x = layer_of(Adc(), encoding)
    for each in histograms(layer, x):
        plane, slice_, tile = each.place
        wanted = np.zeros_like(each.counts)
        for cycle in range(4):
            sums = (x[:, layer.tiles[tile]] >> cycle & 1) @ layer.digits[plane, slice_, :, layer.tiles[tile]].T.astype(
                int
            )
            for output, value in ((o, v) for row in sums for o, v in enumerate(row)):
                wanted[output, value - each.lowest] += 1
        assert np.array_equal(each.counts, wanted)


def test_steps_lose_least_of_those_tried() -> None:
    layer, x = layer_of(Adc("calibrated", 4))
    each = next(h for h in histograms(layer, x) if h.sums[-1] > 20)
    found = best_steps(each, 3, False)
    for output in range(0, 20, 5):
        seen = np.repeat(each.sums, each.counts[output])
        errors = [
            np.square(np.clip(np.floor(seen / s + 0.5), 0, 7) * s - seen).sum() for s in candidates(each, 3, False)
        ]
        assert found[output] == candidates(each, 3, False)[int(np.argmin(errors))]


@pytest.mark.parametrize("scope", ["slice", "column"])
def test_calibrated_ranges_beat_the_full_one(scope: str) -> None:
    layer, x = layer_of(Adc("uniform", 4))
    exact = x @ layer.codes.weights().T
    lost = [np.square(Engine.of(each).multiply(x) - exact).sum() for each in (layer, calibrated(layer, x, scope))]
    assert lost[1] < 0.5 * lost[0]


costs = st.lists(st.floats(0.01, 10), min_size=3, max_size=3)


@given(st.lists(st.tuples(costs, costs), min_size=1, max_size=4), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_plans_are_near_the_best_of_all(groups: list[tuple[list[float], list[float]]], share: float) -> None:
    """Of all combinations none that fits is cheaper than what the relaxed optimum allows: one group's last step."""
    energy = np.full((len(groups), MOST + 1), 1e9)
    error = np.full((len(groups), MOST + 1), np.inf)
    for g, (paid, lost) in enumerate(groups):
        energy[g, 1:4], error[g, 1:4] = np.cumsum(paid), np.cumsum(lost)[::-1]
    made = Choices(np.zeros((1, 1, 1, 1), np.int64), error, energy)
    least, most = error.min(axis=1).sum(), error[:, 1].sum()
    budget = least + share * (most - least)
    found = plan([made], budget)
    rows = np.arange(len(groups))
    assert error[rows, found.bits[0]].sum() <= budget * (1 + 1e-9) + 1e-9
    fits = [c for c in product((1, 2, 3), repeat=len(groups)) if error[rows, c].sum() <= budget + 1e-12]
    best = min(energy[rows, c].sum() for c in fits)
    assert found.energy_j <= best + max(sum(paid[1:]) for paid, _ in groups) + 1e-9


def test_a_plan_keeps_its_budget_when_it_runs() -> None:
    layer, x = layer_of(Adc("saturating", 9))
    found = choices(layer, x, adc_model("isaac_cdac"))
    exact, last = x @ layer.codes.weights().T, 0.0
    for budget in (1e-2, 1e-4, 0.0):
        chosen = plan([found], budget)
        made = planned(layer, found, chosen.bits[0])
        error = np.square(Engine.of(made).multiply(x) - exact).sum() / np.square(exact).sum()
        assert error <= 30 * budget  # errors of the slices of a column are cut in one direction and add up
        assert chosen.energy_j >= last
        last = chosen.energy_j
    assert error == 0


def test_few_columns_need_the_wide_converters() -> None:
    layer, x = layer_of(Adc("saturating", 9))
    found = choices(layer, x, adc_model("paper"))
    bits = planned(layer, found, plan([found], 0.0).bits[0]).converters.bits
    uniform = plan([choices(layer, x, adc_model("paper"), column_groups=1)], 0.0)
    assert plan([found], 0.0).energy_j < uniform.energy_j
    assert len(np.unique(bits[bits > 0])) > 1


def test_a_measured_budget_is_kept() -> None:
    layer, x = layer_of(Adc("saturating", 9))
    found, tried = choices(layer, x, adc_model("paper")), []

    def good(made: object) -> bool:
        tried.append(made)
        return made.error <= 3e-3  # type: ignore[attr-defined]

    best = within([found], good, (1e-6, 1e-1))
    assert best.error <= 3e-3
    assert best.energy_j < tried[0].energy_j
    with pytest.raises(DovetailError, match="good enough"):
        within([found], lambda made: False, (1e-6, 1e-1))


def test_impossible_budgets_say_why() -> None:
    layer, x = layer_of(Adc())
    found = choices(layer, x, adc_model("paper"))
    with pytest.raises(DovetailError, match="budget of -1"):
        plan([found], -1)
    short = Choices(found.groups, found.error + 1e-3, found.energy)
    with pytest.raises(DovetailError, match="no converters lose so little"):
        plan([short], 1e-4)
