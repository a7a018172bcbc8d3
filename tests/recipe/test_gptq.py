"""GPTQ's arithmetic against the exact recursion in float64, brute force, and rounding to nearest."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.recipe.arithmetic import gptq as arithmetic
from dovetail.recipe.arithmetic.gptq import compensated, factorised, gptq
from dovetail.recipe.arithmetic.rounding import grid, nearest, quantise, searched_grid
from dovetail.recipe.layerwise.inputs import collect
from dovetail.recipe.scheme import Scheme

TINY = 1e-9  # of damping: none, for what is compared exactly


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def moment(cols: int, seed: int = 0, samples: int = 200, shared: float = 1.0) -> torch.Tensor:
    """Of inputs that go together: each is its own part and a `shared` one, at very different powers."""
    x = random(samples, cols, seed=seed) + shared * random(samples, 1, seed=seed + 1)
    x = x * torch.logspace(-0.5, 0.5, cols)
    return x.T @ x


def loss(weight: torch.Tensor, values: torch.Tensor, inputs: torch.Tensor) -> float:
    error = (weight - values).double()
    return float((error @ inputs.double() * error).sum())


@pytest.mark.parametrize("scheme", [Scheme(4, 0), Scheme(3, 8), Scheme(2, 16, False), Scheme(8, 0, act_bits=8)])
@pytest.mark.parametrize("order", [True, False])
def test_inputs_that_do_not_go_together_leave_rounding_to_nearest(scheme: Scheme, order: bool) -> None:
    weight = random(7, 48)
    done = gptq(weight, torch.eye(48), scheme, order=order, search=False)
    scale, zero = grid(weight, scheme)
    assert torch.equal(done.scale, scale)
    assert torch.equal(done.steps, quantise(weight, scale, zero, scheme))
    power = torch.linspace(0.1, 3, 48)
    done = gptq(weight, torch.diag(power), scheme, order=order, search=True)
    scale, zero = searched_grid(weight, scheme, power)
    assert torch.equal(done.scale, scale)
    assert torch.equal(done.values, nearest(weight, scale, zero, scheme))


def recursion(weight: np.ndarray, inputs: np.ndarray, scale: np.ndarray, bits: int, places: list[int]) -> np.ndarray:
    """Optimal brain quantisation in a given order, as its paper has it: the inverse is made smaller, column by column.

    Frantar and Alistarh, arXiv 2208.11580, eq. 3 and lemma 1.
    """
    left, done, inverse = weight.copy(), np.zeros_like(weight), np.linalg.inv(inputs)
    for j in places:
        done[:, j] = np.clip(np.round(left[:, j] / scale), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) * scale
        left -= np.outer((left[:, j] - done[:, j]) / inverse[j, j], inverse[j])
        inverse = inverse - np.outer(inverse[:, j], inverse[j]) / inverse[j, j]
        inverse[j, j] = 1.0  # never used again
    return done


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order", [True, False])
def test_the_exact_recursion(seed: int, order: bool) -> None:
    """200 columns: more than a block, so errors pass on both within and beyond blocks."""
    weight, inputs = random(3, 200, seed=seed), moment(200, seed, 900)
    done = gptq(weight, inputs, Scheme(4, 0), damp=TINY, order=order, search=False)
    diagonal = inputs.diagonal()
    places = torch.argsort(diagonal, descending=True, stable=True).tolist() if order else list(range(200))
    expected = recursion(weight.double().numpy(), inputs.double().numpy(), done.scale.double().numpy()[:, 0], 4, places)
    same = np.isclose(done.values.numpy(), expected, rtol=1e-4, atol=1e-6)
    assert same.mean() > 0.98  # fp32 and float64 part ways where a weight lies between two levels
    ours, theirs = loss(weight, done.values, inputs), loss(weight, torch.from_numpy(expected), inputs)
    assert ours == pytest.approx(theirs, rel=0.02)


def test_two_columns_by_hand() -> None:
    """H = [[2, 1], [1, 2]]: an error e of the first column moves the second by e H12 / H22 = e / 2.

    Steps of 1 (the largest weight is 7.5, half of 15 levels): 2.4 becomes 2, and 7.5 - but first 1.4 becomes 1.4 + 0.2.
    """
    inputs = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    weight = torch.tensor([[2.4, 1.4, 7.5]])
    done = gptq(weight, inputs, Scheme(4, 0), damp=TINY, order=False, search=False)
    assert done.scale.item() == pytest.approx(1.0)
    assert done.steps.tolist() == [[2, 2, 7]]
    assert quantise(weight, *grid(weight, Scheme(4, 0)), Scheme(4, 0)).tolist() == [[2, 1, 7]]


@pytest.mark.parametrize("seed", range(12))
def test_near_the_optimum_of_brute_force(seed: int) -> None:
    """All 4**3 roundings of three weights at 2 bits: never below the best, and far nearer to it than the nearest."""
    weight, inputs = random(1, 3, seed=seed), moment(3, seed)
    done = gptq(weight, inputs, Scheme(2, 0), damp=TINY, search=False)
    levels = [float(done.scale) * step for step in (-2, -1, 0, 1)]
    every = [loss(weight, torch.tensor([point]), inputs) for point in itertools.product(levels, repeat=3)]
    ours, best = loss(weight, done.values, inputs), min(every)
    plain = loss(weight, nearest(weight, done.scale, None, Scheme(2, 0)), inputs)
    assert ours >= best * (1 - 1e-5) - 1e-9
    assert ours - best <= 0.7 * (np.mean(every) - best)
    assert ours <= plain * 1.6 + 1e-9


def test_brute_force_over_many_cases_is_mostly_met() -> None:
    ours, plain, best = 0.0, 0.0, 0.0
    for seed in range(60):
        weight, inputs = random(1, 3, seed=seed), moment(3, seed)
        done = gptq(weight, inputs, Scheme(2, 0), damp=TINY, search=False)
        levels = [float(done.scale) * step for step in (-2, -1, 0, 1)]
        every = [loss(weight, torch.tensor([point]), inputs) for point in itertools.product(levels, repeat=3)]
        ours += loss(weight, done.values, inputs) / min(every)
        plain += loss(weight, nearest(weight, done.scale, None, Scheme(2, 0)), inputs) / min(every)
        best += 1
    assert best <= ours < best + 0.5 * (plain - best)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000), bits=st.integers(2, 8), group=st.sampled_from([0, 8, 32]), symmetric=st.booleans(),
    order=st.booleans(),
)  # fmt: skip
def test_the_loss_is_below_that_of_the_nearest(seed: int, bits: int, group: int, symmetric: bool, order: bool) -> None:
    weight, inputs, scheme = random(24, 64, seed=seed), moment(64, seed), Scheme(bits, group, symmetric)
    done = gptq(weight, inputs, scheme, order=order)
    scale, zero = searched_grid(weight, scheme, inputs.diagonal())
    assert loss(weight, done.values, inputs) < loss(weight, nearest(weight, scale, zero, scheme), inputs)
    steps = done.steps.float().reshape(24, done.scale.shape[1], -1)
    if done.zero is not None:
        steps = steps - done.zero.float()[..., None]
    torch.testing.assert_close(done.values, (steps * done.scale[..., None]).reshape(24, 64))  # what is stored is it


def test_zeros_stay_and_others_take_over() -> None:
    weight, inputs = random(16, 64), moment(64)
    pruned = weight * (random(16, 64, seed=3) > 0)
    for symmetric in (True, False):
        scheme = Scheme(4, 32, symmetric)
        done = gptq(pruned, inputs, scheme)
        assert (done.values[pruned == 0] == 0).all()
        scale, zero = searched_grid(pruned, scheme, inputs.diagonal())
        assert loss(pruned, done.values, inputs) < loss(pruned, nearest(pruned, scale, zero, scheme), inputs)


def test_inputs_that_are_always_zero() -> None:
    """Nothing reads these weights: they become 0, and the scales of others do not suffer from them."""
    inputs = moment(32)
    inputs[:, 5] = inputs[5] = 0.0
    weight = random(4, 32)
    weight[:, 5] = 1000.0
    done = gptq(weight, inputs, Scheme(4, 0))
    assert (done.values[:, 5] == 0).all()
    assert float(done.scale.max()) < 1.0
    everything = gptq(weight, torch.zeros(32, 32), Scheme(4, 0))
    assert not everything.values.any()


def test_damping_pulls_towards_the_nearest() -> None:
    """Where all inputs are as good as alone, only the largest weight of a row moves: it lies between two levels."""
    weight, inputs, scheme = random(8, 64), moment(64), Scheme(3, 0)
    plain = nearest(weight, *grid(weight, scheme), scheme)
    least, some, none = (gptq(weight, inputs, scheme, damp=d, search=False).values != plain for d in (1e-3, 3, 1e6))
    assert least.sum() > some.sum() > none.sum()
    largest = weight.abs() == weight.abs().amax(1, keepdim=True)
    assert not none[~largest].any()


def test_fewer_inputs_than_columns_are_damped_until_they_do() -> None:
    """A second moment of rank 3 has no inverse."""
    x = random(3, 64)
    done = gptq(random(4, 64, seed=1), x.T @ x, Scheme(4, 16))
    assert done.values.isfinite().all()
    plain = nearest(random(4, 64, seed=1), done.scale, None, Scheme(4, 16))
    assert loss(random(4, 64, seed=1), done.values, x.T @ x) < loss(random(4, 64, seed=1), plain, x.T @ x)
    with pytest.raises(DovetailError, match=r"do not tell weights apart.*damp"):
        gptq(random(4, 64), -torch.ones(64, 64), Scheme(4, 16))


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite(broken: float) -> None:
    inputs = moment(8)
    inputs[2, 3] = broken
    with pytest.raises(DovetailError, match=r"inputs are not finite.*overflows"):
        gptq(random(2, 8), inputs, Scheme(4, 0))


def test_scales_have_the_dtype_that_is_asked_for_and_nothing_is_changed_in_place() -> None:
    weight, inputs = random(4, 32), moment(32)
    kept = weight.clone(), inputs.clone()
    done = gptq(weight, inputs, Scheme(4, 16), dtype=torch.bfloat16)
    assert done.scale.dtype == torch.bfloat16
    assert torch.equal(weight, kept[0])
    assert torch.equal(inputs, kept[1])
    again = gptq(weight, inputs, Scheme(4, 16), dtype=torch.bfloat16)
    assert torch.equal(done.steps, again.steps)


@pytest.mark.parametrize("order", [True, False])
@pytest.mark.parametrize("damp", [0.01, 0.3])
def test_one_factor_serves_all_that_read_the_same_inputs(order: bool, damp: float) -> None:
    """To the bit, at every scheme, whatever it was used for before."""
    inputs = moment(160)
    shared = factorised(inputs, damp=damp, order=order)
    for rows, scheme in ((24, Scheme(4, 32)), (40, Scheme(2, 0, False)), (8, Scheme(3, 16))):
        weight = random(rows, 160, seed=rows)
        weight[::3, ::5] = 0
        alone = gptq(weight, inputs, scheme, damp=damp, order=order, dtype=torch.bfloat16)
        found = compensated(weight, shared, scheme, dtype=torch.bfloat16)
        for one, other in zip(alone, found, strict=True):
            assert (one is None and other is None) or torch.equal(one, other)


def test_layers_that_read_one_tensor_factorise_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = arithmetic._inverse_factor

    def counted(*args: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return real(*args)

    monkeypatch.setattr(arithmetic, "_inverse_factor", counted)
    linears = {name: torch.nn.Linear(24, 8) for name in "qkv"} | {"o": torch.nn.Linear(24, 8)}
    x = random(64, 24)

    def run() -> None:
        for name in "qkv":
            linears[name](x)
        linears["o"](x + 1)

    with torch.no_grad():
        found = collect(linears, [run], 1)
    factors = {name: one.factored(0.02, False) for name, one in found.items()}
    assert calls == 2
    assert factors["q"] is factors["v"] is not factors["o"]
    assert torch.equal(factors["q"].upper, factorised(x.T @ x, damp=0.02, order=False).upper)
    other = found["q"].factored(0.5, True)  # other parameters are no business of what was kept
    assert torch.equal(other.upper, factorised(found["q"].moment, damp=0.5).upper)
