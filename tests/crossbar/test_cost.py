"""Costs of layers whose numbers can be counted by hand."""

import numpy as np
import pytest

from dovetail.crossbar.adc import Adc
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import FixedPoint
from dovetail.crossbar.columns import Arrays
from dovetail.crossbar.cost import FILL, by_model, cost, total, work
from dovetail.crossbar.layer import Setup, write
from dovetail.hardware.adc import MODELS, adc_model
from dovetail.hardware.crossbar_parts import ISAAC


def full(adc: Adc, cells: Cells | None = None) -> Setup:
    return Setup(cells or Cells(2, "offset"), Arrays(128, 128), adc)


def test_isaacs_unit_by_hand() -> None:
    """A full array of eight-bit conversions draws the converter's 2 mW for the 107 ns of 128 conversions."""
    codes = FixedPoint(7).codes(np.random.default_rng(0).normal(size=(128, 128)))
    done = work(write(codes, full(Adc("saturating", 8))))
    assert done.arrays == 4
    assert done.conversions[8] == 4 * 128 * 8
    assert done.skipped == 0
    found = cost(done, adc_model("isaac_cdac"))
    assert found.energy_j["adc"] == pytest.approx(4 * 128 * 8 * 2e-3 / 1.2e9)
    assert found.interval_s == pytest.approx(8 * 128 / 1.2e9)
    assert found.time_s == pytest.approx((8 + FILL) * 128 / 1.2e9)
    assert found.area_mm2["array"] == pytest.approx(4 * 0.0002 / 8)
    assert found.energy_j["driver"] == pytest.approx(4 * 128 * 8 * ISAAC.driver_j)
    assert found.energy == pytest.approx(sum(found.energy_j.values()))


def test_empty_bitlines_are_not_converted() -> None:
    codes = FixedPoint(8).codes(np.where(np.arange(64)[:, None] < 16, 1.0, 0.0) * np.ones((64, 32)))
    done = work(write(codes, full(Adc("saturating", 8), Cells(2, "differential"))))
    assert done.conversions.sum() == 4 * 16 * 8  # one plane of two, 16 of 64 outputs
    assert done.conversions.sum() + done.skipped == 2 * 4 * 64 * 8
    offset = work(write(codes, full(Adc("saturating", 8))), live_cycles=0.25)
    assert offset.conversions.sum() == (5 * 16 + 48) * 8 / 4  # code 0 is stored as 256: a digit in the top slice


def test_two_cells_a_digit_take_two_arrays_and_one_conversion() -> None:
    codes = FixedPoint(8).codes(np.random.default_rng(0).normal(size=(64, 64)))
    pair, planes = (work(write(codes, full(Adc(), Cells(2, name)))) for name in ("sign-magnitude", "differential"))
    assert pair.arrays == planes.arrays
    assert pair.conversions.sum() < planes.conversions.sum()


def test_layers_add_up_and_the_slowest_sets_the_pace() -> None:
    rng = np.random.default_rng(0)
    works = [work(write(FixedPoint(8).codes(rng.normal(size=(size, 100))), full(Adc("saturating", bits))))
             for size, bits in ((50, 8), (300, 12))]  # fmt: skip
    model = adc_model("linear")
    each = [cost(done, model) for done in works]
    both = total(each)
    assert both.energy == pytest.approx(each[0].energy + each[1].energy)
    assert both.time_s == pytest.approx(each[0].time_s + each[1].time_s)
    assert both.interval_s == max(found.interval_s for found in each)
    assert set(by_model(works)) == set(MODELS)


def test_fewer_bits_cost_less_by_every_model() -> None:
    codes = FixedPoint(8).codes(np.random.default_rng(0).normal(size=(128, 256)))
    wide, narrow = (by_model([work(write(codes, full(Adc("saturating", bits))))]) for bits in (8, (5, 5, 5, 4, 1)))
    for name in MODELS:
        assert narrow[name].energy_j["adc"] < wide[name].energy_j["adc"], name
        assert name in narrow[name].adc
