"""Length distributions against sampling."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.workload import Lengths


@pytest.mark.parametrize(("mean", "cv"), [(200, 0.5), (1000, 1.0), (3000, 0.2)])
def test_log_normal_points_have_the_moments_of_samples(mean: float, cv: float) -> None:
    """A million samples of NumPy's log-normal with that mean and deviation; points cut the tail, hence 3 %."""
    sigma = np.sqrt(np.log1p(cv**2))
    samples = np.random.default_rng(1).lognormal(np.log(mean) - sigma**2 / 2, sigma, 1_000_000)
    tokens = Lengths.lognormal(mean, cv, quantiles=2000).tokens
    assert tokens.mean() == pytest.approx(samples.mean(), rel=0.005)
    assert tokens.std() / tokens.mean() == pytest.approx(samples.std() / samples.mean(), rel=0.03)
    shares = (0.1, 0.5, 0.9)
    np.testing.assert_allclose(np.quantile(tokens, shares), np.quantile(samples, shares), rtol=0.01)


@given(st.floats(50, 1e5), st.floats(0, 2), st.integers(1, 40))
def test_few_points_keep_the_mean_to_half_a_token(mean: float, cv: float, quantiles: int) -> None:
    found = Lengths.lognormal(mean, cv, quantiles)
    assert found.tokens.shape == (quantiles,)
    assert np.all(np.diff(found.tokens) >= 0)
    assert np.all((found.tokens >= 1) & (found.tokens == np.rint(found.tokens)))
    assert found.mean == pytest.approx(mean, abs=1.0)


def test_no_variation_is_one_length() -> None:
    assert set(Lengths.lognormal(512, 0.0).tokens) == {512}


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200), st.integers(1, 20))
def test_observed_points_lie_in_the_trace_and_in_order(tokens: list[int], quantiles: int) -> None:
    found = Lengths.observed(tokens, quantiles).tokens
    assert found.shape == (quantiles,)
    assert min(tokens) <= found[0] <= found[-1] <= max(tokens)
    assert np.all(np.diff(found) >= 0)
    assert np.all(found == np.rint(found))


def test_observed_points_are_the_middles_of_equal_parts() -> None:
    assert list(Lengths.observed(np.arange(1, 101), 4).tokens) == pytest.approx([13, 38, 63, 88], abs=0.6)
    assert list(Lengths.observed([7, 7, 7]).tokens) == [7] * 16


@pytest.mark.parametrize("bad", [(0, 1, 4), (100, -1, 4), (100, 1, 0), (float("nan"), 1, 4), (100, float("inf"), 4)])
def test_impossible_distributions_are_refused(bad: tuple[float, float, int]) -> None:
    with pytest.raises(DovetailError, match="length distribution needs"):
        Lengths.lognormal(*bad)


@pytest.mark.parametrize("bad", [[], [1, float("nan")], [float("inf")], [-1, 4]])
def test_impossible_traces_are_refused(bad: list[Any]) -> None:
    with pytest.raises(DovetailError, match="observed lengths must be"):
        Lengths.observed(bad)
    with pytest.raises(DovetailError, match="observed lengths must be"):
        Lengths.observed([1, 2], quantiles=0)
