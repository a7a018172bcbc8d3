"""The learned correction: its knots, its bounds, where it fades, and that a fit finds what was put in."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from dovetail.cost import matmul
from dovetail.cost.residual import MOST, Residual
from dovetail.design.residual_fit import fit_residual
from dovetail.hardware import load_machine

CORES = 100.0
RNG = np.random.default_rng(0)
SOME = Residual((0.0, -6.0, 7.0), (15.0, 8.0, 14.0), RNG.uniform(-0.25, 0.25, (5, 4, 3)))


def points(count: int, low: float = 7.0, high: float = 14.0) -> tuple[Any, Any, Any]:
    m = np.exp2(RNG.uniform(8, 13, count))
    return m, np.exp2(RNG.uniform(low, high, count)), np.exp2(RNG.uniform(low, high, count))


def test_between_knots_it_is_trilinear() -> None:
    m, n, k = points(200)
    axes = [np.linspace(a, b, size) for a, b, size in zip(SOME.low, SOME.high, SOME.values.shape, strict=True)]
    at = np.stack([np.log2(m), np.log2((m / 128) * (n / 128) / CORES), np.log2(k)], axis=1)
    truth = RegularGridInterpolator(axes, SOME.values)(at)
    np.testing.assert_allclose(SOME.correction(m, n, k, CORES), truth, atol=1e-12)


def test_an_octave_outside_it_is_nothing() -> None:
    assert SOME.correction(64, 1024, 2.0**15, CORES) == 0.0
    assert SOME.correction(64, 1024, 2.0**6, CORES) == 0.0
    half = SOME.correction(64, 1024, 2.0**14.5, CORES)
    assert half == pytest.approx(SOME.correction(64, 1024, 2.0**14, CORES) / 2)


@given(st.integers(1, 1 << 30), st.integers(1, 1 << 30), st.integers(1, 1 << 30))
def test_it_is_bounded_everywhere(m: int, n: int, k: int) -> None:
    steep = Residual(SOME.low, SOME.high, 100 * SOME.values)
    assert abs(steep.correction(m, n, k, CORES)) <= MOST


def test_points_together_equal_points_alone() -> None:
    m, n, k = points(20)
    alone = [SOME.correction(*point, CORES) for point in zip(m, n, k, strict=True)]
    np.testing.assert_allclose(SOME.correction(m, n, k, CORES), alone, rtol=1e-12, atol=1e-15)


def test_it_survives_json() -> None:
    again = Residual.from_json(json.loads(json.dumps(SOME.to_json())))
    np.testing.assert_allclose(again.values, SOME.values, atol=5e-5)
    assert (again.low, again.high) == (SOME.low, SOME.high)


def test_a_fit_finds_what_was_put_in_despite_disturbed_calls() -> None:
    m, n, k = points(2000)
    truth = 0.1 * np.sin(np.log2(m)) + 0.02 * (np.log2(k) - 10)
    disturbed = np.where(np.arange(2000) % 20 == 0, 1.0, truth)
    found = fit_residual(m, n, k, CORES, disturbed)
    new = points(500)
    wanted = 0.1 * np.sin(np.log2(new[0])) + 0.02 * (np.log2(new[2]) - 10)
    missed = np.abs(found.correction(*new, CORES) - wanted).mean()
    assert missed < 0.3 * np.abs(wanted).mean()


def test_no_error_needs_no_correction() -> None:
    m, n, k = points(300)
    assert not fit_residual(m, n, k, CORES, np.zeros(300)).values.any()


def test_what_ships_moves_products_of_measured_chips_alone_and_never_far() -> None:
    m = np.array([1, 16, 512, 8192])
    for chip, moves in (("h100-sxm", True), ("a100-sxm", True), ("h200-sxm", True), ("b200-sxm", False)):
        plain, learned = (matmul(m, 4096, 4096, machine=load_machine(chip), corrected=given) for given in (False, True))
        ratio = learned.time_s / plain.time_s
        assert bool((ratio != 1).any()) is moves
        assert np.abs(np.log(ratio)).max() <= 0.3
        assert (learned.low < learned.time_s).all()
        assert (learned.time_s < learned.high).all()
