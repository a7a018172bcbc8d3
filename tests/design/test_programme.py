"""The integer programme against brute force, and against HiGHS where it is installed."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.design.allocation import programme
from dovetail.design.allocation.programme import solve

Instance = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]


def instance(seed: int, groups: int, resources: int, whole: bool) -> Instance:
    """Random losses and needs, with limits around what a middling choice takes; whole numbers make many ties."""
    draw = np.random.default_rng(seed)
    losses = [draw.exponential(size=draw.integers(1, 5)) for _ in range(groups)]
    needs = [draw.random((len(loss), resources)) for loss in losses]
    if whole:
        losses = [np.round(3 * loss) for loss in losses]
        needs = [np.round(4 * need) - 1 for need in needs]
    limits = sum((need.mean(0) for need in needs), np.zeros(resources)) * draw.uniform(0.5, 1.3, resources)
    return losses, needs, limits


def best(losses: list[np.ndarray], needs: list[np.ndarray], limits: np.ndarray) -> float | None:
    """The least loss of all choices that fit, by trying every one."""
    found = None
    for picks in itertools.product(*(range(len(loss)) for loss in losses)):
        used = sum((need[p] for need, p in zip(needs, picks)), np.zeros(len(limits)))
        if (used <= limits + 1e-12 * abs(limits)).all():
            loss = sum(float(each[p]) for each, p in zip(losses, picks))
            found = loss if found is None else min(found, loss)
    return found


def total(parts: list[np.ndarray], picks: tuple[int, ...]) -> np.ndarray:
    return np.asarray(sum(part[p] for part, p in zip(parts, picks, strict=True)))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), groups=st.integers(1, 6), resources=st.integers(1, 3), whole=st.booleans())
def test_it_is_as_good_as_trying_everything(seed: int, groups: int, resources: int, whole: bool) -> None:
    losses, needs, limits = instance(seed, groups, resources, whole)
    picks, expected = solve(losses, needs, limits), best(losses, needs, limits)
    assert (picks is None) == (expected is None)
    if picks is not None:
        assert total(losses, picks) == pytest.approx(expected, abs=1e-12)
        assert (total(needs, picks) <= limits + 1e-9).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), factors=st.tuples(st.floats(0.6, 1.4), st.floats(0.6, 1.4)))
def test_more_room_never_loses_more(seed: int, factors: tuple[float, float]) -> None:
    losses, needs, limits = instance(seed, 8, 1, whole=False)
    small, large = (solve(losses, needs, limits * factor) for factor in sorted(factors))
    assert small is None or large is not None
    if small is not None and large is not None:
        assert total(losses, large) <= total(losses, small) + 1e-12


def model_like(layers: int, resources: int) -> Instance:
    """Four products a layer whose losses fall fourfold with each bit and whose needs rise with bits."""
    draw, bits = np.random.default_rng(layers), np.array([2, 3, 4, 5, 6, 8, 16])
    losses, needs = [], []
    for size in (1.0, 0.7, 4.5, 2.2) * layers:
        losses.append(draw.lognormal() * 4.0**-bits * (bits < 16))
        needs.append(np.column_stack([size * (bits + 0.25) + 3, size * bits**0.8][:resources]))
    return losses, needs, np.asarray(sum(need[2] for need in needs)) * 0.97


@pytest.mark.parametrize(("layers", "resources"), [(4, 1), (4, 2), (32, 1), (80, 1)])
def test_it_is_as_good_as_highs_at_the_size_of_models(layers: int, resources: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    losses, needs, limits = model_like(layers, resources)
    picks = solve(losses, needs, limits)
    assert picks is not None
    owner = np.repeat(np.arange(len(losses)), [len(loss) for loss in losses])
    one_each = (owner == np.arange(len(losses))[:, None]).astype(float)
    cost = np.concatenate(losses)
    found = optimize.milp(
        cost / cost.max() * 1e3, integrality=np.ones(len(cost)), bounds=optimize.Bounds(0, 1),
        constraints=[
            optimize.LinearConstraint(one_each, 1, 1),
            optimize.LinearConstraint(np.concatenate(needs).T, -np.inf, limits),
        ],
        options={"mip_rel_gap": 0},
    )  # fmt: skip
    assert total(losses, picks) == pytest.approx(found.fun * cost.max() / 1e3, rel=1e-6)
    assert (total(needs, picks) <= limits * (1 + 1e-9)).all()


def test_without_limits_every_group_takes_its_best() -> None:
    losses, needs, limits = instance(3, 9, 2, whole=False)
    assert solve(losses, needs, np.full(2, np.inf)) == tuple(int(np.argmin(loss)) for loss in losses)
    assert solve(losses, needs, -np.abs(limits)) is None


def test_a_limit_that_is_met_exactly_is_met() -> None:
    needs = [np.array([[0.1], [0.3]]), np.array([[0.2], [0.3]])]
    assert solve([np.array([1.0, 0.0])] * 2, needs, np.array([0.1 + 0.3])) == (0, 1)


@pytest.mark.parametrize(("resources", "most"), [(1, "_MOST_STATES"), (2, "_MOST_COMPARED")])
def test_too_many_partial_choices_are_refused_before_they_are_compared(
    resources: int, most: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []

    def undominated(wants: np.ndarray, total: np.ndarray) -> np.ndarray:
        compared.append(len(wants))
        return whole(wants, total)

    whole = programme._undominated
    monkeypatch.setattr(programme, "_undominated", undominated)
    monkeypatch.setattr(programme, most, 50)
    with pytest.raises(DovetailError, match="too many ways to share out the bits") as caught:
        solve(*model_like(24, resources))
    assert caught.value.exit_code == 3
    assert max(compared) <= 50
