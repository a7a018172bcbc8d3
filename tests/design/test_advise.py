"""Advice: ratios of estimates, verdicts over batches, and what does not run named."""

from __future__ import annotations

import numpy as np
import pytest

from dovetail.core.errors import DovetailError
from dovetail.design import estimate
from dovetail.design.advise import Advice, advise
from dovetail.workload import Workload

MODEL, CHIP = "Qwen/Qwen3-8B", "h100-sxm"


@pytest.fixture(scope="module")
def found() -> Advice:
    return advise(MODEL, CHIP, batch=(1, 64), prompt=[2048])


def test_ratios_are_those_of_estimates(found: Advice) -> None:
    for option in found.options:
        place = int(np.flatnonzero(option.batch == 16)[0])
        work = Workload(prompt=option.context, output=found.output, batch=16)
        base, own = (estimate(MODEL, CHIP, work, recipe).metrics for recipe in ("none", option.recipe))
        assert option.ratios["tpot"].value[place] == pytest.approx(base.tpot_s / own.tpot_s, rel=1e-9)
        assert option.ratios["throughput"].value[place] == pytest.approx(own.throughput / base.throughput, rel=1e-9)


def test_an_interval_holds_its_ratio_and_what_is_the_same_cancels(found: Advice) -> None:
    for option in found.options:
        ratio = option.ratios["tpot"]
        known = np.isfinite(ratio.value)
        assert (ratio.low[known] <= ratio.value[known]).all()
        assert (ratio.value[known] <= ratio.high[known]).all()
    same = next(option for option in found.options if option.recipe == "none").ratios["tpot"]
    assert np.allclose([same.low, same.value, same.high], 1.0)


def test_recipes_without_a_kernel_are_named(found: Advice) -> None:
    assert "int3" in found.excluded["w3a16-rtn"]


def test_the_largest_batch_is_the_one_that_estimates_fit(found: Advice) -> None:
    for option in found.options:
        work = Workload(prompt=option.context, output=found.output, batch=option.largest_batch)
        more = Workload(prompt=option.context, output=found.output, batch=option.largest_batch + 1)
        assert estimate(MODEL, CHIP, work, option.recipe).feasible
        assert not estimate(MODEL, CHIP, more, option.recipe).feasible


@pytest.mark.parametrize("bad", [{"batch": (0, 4)}, {"batch": (8, 2)}, {"by": "speed"}, {"prompt": []}])
def test_nonsense_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(DovetailError):
        advise(MODEL, CHIP, **bad)  # type: ignore[arg-type]
