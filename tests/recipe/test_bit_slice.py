"""Rounding for crossbars, against trying every code, plain loops and GPTQ."""

import numpy as np
import pytest
import torch

from dovetail.core.errors import DovetailError
from dovetail.crossbar.cells import Cells
from dovetail.crossbar.codes import Codes, FixedPoint
from dovetail.crossbar.columns import statistics
from dovetail.recipe.arithmetic.gptq import compensated, factorised
from dovetail.recipe.arithmetic.slices import Price, sliced
from dovetail.recipe.methods.bit_slice import BitSlice
from dovetail.recipe.scheme import Scheme


def problem(rows: int = 24, cols: int = 48) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights, and the second moment of inputs that hang together."""
    source = torch.Generator().manual_seed(0)
    mixed = torch.randn(400, cols, generator=source) @ (
        torch.eye(cols) + 0.2 * torch.randn(cols, cols, generator=source)
    )
    return torch.randn(rows, cols, generator=source), mixed.T @ mixed


def loss(weight: torch.Tensor, values: torch.Tensor, moment: torch.Tensor) -> float:
    off = (weight - values).double()
    return float(((off @ moment.double()) * off).sum())


def cells_of(steps: torch.Tensor, encoding: str = "differential") -> float:
    codes = Codes(steps.numpy().astype(np.int32), np.ones((len(steps), 1)), FixedPoint(8))
    return float(statistics(codes, Cells(2, encoding)).nonzero_slices.sum())


def test_each_code_is_the_cheapest_of_all() -> None:
    """Inputs that do not hang together: no error is passed on, so every weight stands for itself."""
    weight, _ = problem(6, 12)
    power = torch.rand(12, generator=torch.Generator().manual_seed(1)) + 0.1
    inputs = factorised(torch.diag(power), damp=1e-9)
    price = Price(0.02, 0.3, bits=6, balanced=False)
    done = sliced(weight, inputs, price, dtype=torch.float32)
    energy = float((weight.square() * power).sum()) / weight.numel()
    codes = np.arange(64)
    digits = codes[:, None] // 4 ** np.arange(3) % 4
    costs = 0.02 * ((digits > 0).sum(1) + 0.3 * digits.sum(1))
    for row, col in np.ndindex(6, 12):
        scale = float(done.scale[row, 0])
        paid = (abs(float(weight[row, col])) - codes * scale) ** 2 * float(power[col]) / energy + costs
        code = abs(int(done.steps[row, col]))
        assert paid[code] == pytest.approx(paid.min(), rel=1e-4)


@pytest.mark.parametrize(("bits", "times"), [(8, 1.1), (5, 1.2), (4, 1.35)])
def test_without_a_price_it_is_as_near_as_gptq(bits: int, times: float) -> None:
    """Which has a code more on the negative side, hence steps of 15 against 15.5 parts at 5 bits."""
    weight, moment = problem()
    inputs = factorised(moment)
    ours = sliced(weight, inputs, Price(0.0, bits=bits - 1))
    theirs = compensated(weight, inputs, Scheme(bits, 0))
    assert loss(weight, ours.values, moment) < times * loss(weight, theirs.values, moment)
    torch.testing.assert_close(ours.values, ours.steps.float() * ours.scale)
    assert int(ours.steps.abs().max()) < 2 ** (bits - 1)


def test_a_price_empties_cells_and_costs_quality() -> None:
    weight, moment = problem()
    inputs = factorised(moment)
    done = [sliced(weight, inputs, Price(price)) for price in (0.0, 1e-3, 1e-2, 1e-1)]
    cells = [cells_of(one.steps, "balanced") for one in done]
    errors = [loss(weight, one.values, moment) for one in done]
    assert cells == sorted(cells, reverse=True)
    assert errors == sorted(errors)
    assert cells[-1] < 0.6 * cells[0]


def test_bitlines_are_kept_within_converters() -> None:
    weight, moment = problem()
    inputs = factorised(moment)
    free = sliced(weight, inputs, Price(1e-2, 0.0, bits=5, rows=16, balanced=False))
    kept = sliced(weight, inputs, Price(1e-2, 0.0, bits=5, rows=16, adc_bits=3, over=0.1, balanced=False))

    def over(steps: torch.Tensor) -> int:
        values, total = steps.numpy().astype(int), 0
        for sign in (1, -1):
            part = np.maximum(values * sign, 0)
            for s in range(3):
                digits = part // 4**s % 4
                total += sum(np.maximum(digits[:, at : at + 16].sum(1) - 7, 0).sum() for at in range(0, 48, 16))
        return int(total)

    assert over(kept.steps) < 0.3 * over(free.steps)


def test_zeros_and_dead_inputs_stay_zero() -> None:
    weight, moment = problem()
    weight[:, 3], weight[2] = 0, 0
    moment[5], moment[:, 5] = 0, 0
    done = sliced(weight, factorised(moment), Price(1e-3))
    assert (done.steps[:, [3, 5]] == 0).all()
    assert (done.steps[2] == 0).all()
    assert done.values.isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"bits": 9}, "9 bits"), ({"bits": 2}, "2 bits"), ({"price": -1.0}, "price"), ({"cell": 3}, "no cell of 3"),
        ({"adc_bits": 20}, "ADC of 20 bits"), ({"rows": 0}, "0 rows"), ({"damp": 0.0}, "damping"),
        ({"encoding": "offset"}, "no prices"), ({"encoding": "blanced"}, "unknown encoding"),
    ],
)  # fmt: skip
def test_bad_parameters_are_told(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(DovetailError, match=says):
        BitSlice(**wrong)  # type: ignore[arg-type]
