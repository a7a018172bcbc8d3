"""Advice: ratios of estimates, verdicts over batches, and what does not run named."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.design import estimate
from dovetail.design.advice import Advice, spans
from dovetail.design.advise import advise
from dovetail.hardware import load_machine
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


def test_a_recipe_that_changes_nothing_is_named_with_the_reason(found: Advice) -> None:
    assert set(found.never) == {"prune50"}
    assert "unstructured zeros are stored and multiplied" in found.never["prune50"]
    data = found.to_json()
    assert data["never_pays"] == [{"recipe": "prune50", "why": found.never["prune50"]}]
    assert "prune50" not in {point["recipe"] for point in data["gains"]}
    assert "w4a16" in {point["recipe"] for point in data["gains"]}


def test_recipes_that_run_alike_are_one_line() -> None:
    """w4a16, w4a16-gptq, w4a16-awq and w4a16-rtn differ in quality alone; asked for by name, each has its own."""
    found = advise(MODEL, "h100-sxm", batch=(1, 2), prompt=[500])
    names = {option.recipe for option in found.options} | {*found.excluded}
    assert {"w4a16", "w8a8", "w8a16"} <= names
    assert not {"w4a16-gptq", "w4a16-awq", "w4a16-rtn"} & names
    both = advise(MODEL, "h100-sxm", batch=(1, 2), prompt=[500], recipes=["w4a16", "w4a16-awq"])
    assert {option.recipe for option in both.options} == {"none", "w4a16", "w4a16-awq"}


def test_a_recipe_that_is_slower_everywhere_says_by_how_much() -> None:
    """Long prompts are bound by compute, to which unpacking is added; of a chip that is known to 0.1 % that is sure."""
    chip = load_machine(CHIP)
    sure, slow = replace(chip.efficiency, spread=0.001), replace(chip.stack, unpack_flops=1e5)
    known = replace(chip, kernels=None, efficiency=sure, stack=slow)
    slower = advise(MODEL, known, batch=(250, 300), prompt=[500], recipes=["w4a16-rtn"], by="ttft")
    option = slower.at(500)[1]
    assert option.loses("ttft") == [(250, 300)]
    best = float(option.ratios["ttft"].value.max())
    at = option.batch[option.ratios["ttft"].value.argmax()]
    assert slower.never["w4a16-rtn"] == f"{best:.2f}x at best, at batch {at} and 500 tokens"
    assert best < 1.0


def test_where_the_stack_unpacks_no_weight_format_pays() -> None:
    machine = replace(load_machine("host"), packed=None)
    here = advise("embedded", machine, batch=(1, 4), prompt=[100])
    assert all("unpacks the weights" in here.never[name] for name in ("w8a16", "w4a16", "w2a16-rtn"))
    assert here.verdict.endswith("batch 1–4 no recipe")


def test_pays_too_close_and_loses_part_the_batches_that_fit(found: Advice) -> None:
    for option in found.options[1:]:
        ratio = option.ratios["tpot"]
        spans = [*option.pays("tpot"), *option.may_pay("tpot"), *option.loses("tpot")]
        covered = [batch for first, last in spans for batch in range(first, last + 1)]
        assert len(covered) == len(set(covered))
        same = np.isclose(ratio.low, 1.0, rtol=1e-9) & np.isclose(ratio.high, 1.0, rtol=1e-9)
        assert set(covered) == set(option.batch[np.isfinite(ratio.value) & ~same].tolist())
        for first, last in option.pays("tpot"):
            held = (option.batch >= first) & (option.batch <= last)
            assert (ratio.low[held] > 1.0).all()


@given(st.lists(st.booleans(), max_size=40))
def test_spans_are_the_runs(held: list[bool]) -> None:
    batches = np.arange(10, 10 + len(held))
    runs = spans(batches, np.array(held, bool))
    assert [b for first, last in runs for b in range(first, last + 1)] == batches[np.array(held, bool)].tolist()
    assert all(later[0] > earlier[1] + 1 for earlier, later in itertools.pairwise(runs))


def test_contexts_that_the_model_does_not_hold_are_named() -> None:
    short = advise("embedded", "host", batch=(1, 2), prompt=[100, 10**9], recipes=["w8a16"])
    assert (short.contexts, short.too_long) == ((100,), (10**9,))
    with pytest.raises(DovetailError, match="no context") as error:
        advise(MODEL, CHIP, prompt=[10**9])
    assert error.value.exit_code == INFEASIBLE


def test_where_nothing_fits_it_says_what_binds() -> None:
    none = advise("meta-llama/Llama-3.1-70B", "l4", batch=(1, 4), prompt=[512])
    assert not none.feasible
    assert "the weights need 141 GB" in none.why[0]
    assert none.to_json()["feasible"] is False
    some = advise("meta-llama/Llama-3.1-70B", CHIP, batch=(1, 4), prompt=[512])
    assert some.feasible  # with fewer bits
    assert "fits only with" in some.verdict
