"""What does not fit says what binds, by how much, and what would fit; the batch it names really is the largest."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dovetail.core.units import show
from dovetail.design import Estimate, Plan, estimate
from dovetail.hardware import Machine, load_machine
from dovetail.model import Model
from dovetail.workload import Workload

WEIGHTS = 287_616  # bytes of the small Llama


def ask(llama: Model, machine: Machine, plan: Plan = Plan(), **shape: int) -> Estimate:  # noqa: B008
    return estimate(llama, machine, Workload(**shape), plan=plan)


def with_capacity(machine: Machine, capacity: float, count: int = 1, reserve: float = 0.0) -> Machine:
    stack = replace(machine.stack, reserve=reserve)
    return replace(machine, memory=replace(machine.memory, capacity=capacity), count=count, stack=stack)


def test_what_fits_gives_no_reason(toy: Machine, llama: Model) -> None:
    found = ask(llama, toy, prompt=64, output=64, batch=2)
    assert found.feasible is True
    assert found.why == []
    assert found.metrics.memory.weights == WEIGHTS


def test_caches_that_do_not_fit_name_required_available_and_a_batch(toy: Machine, llama: Model) -> None:
    found = ask(llama, toy, prompt=1000, output=100, batch=64)
    held = found.metrics.memory
    assert found.feasible is False
    (reason,) = found.why
    assert "KV cache, activations and buffers need " + show(held.total - held.weights, "byte") in reason
    assert "at batch 64" in reason
    assert show(4e6 - WEIGHTS, "byte") + " are free beside the weights on toy" in reason
    assert re.search(r"batch \d+ fits", reason)


@settings(max_examples=25)
@given(st.integers(1, 1000), st.integers(1, 1000), st.floats(3e5, 1e8), st.sampled_from([0.0, 0.1]),
       st.sampled_from([(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)]), st.sampled_from([0, 1, 512, 8192]))  # fmt: skip
def test_the_batch_named_fits_and_one_more_does_not(
    toy: Machine, llama: Model, prompt: int, output: int, capacity: float, reserve: float, layout: tuple[int, int],
    chunk: int,
) -> None:  # fmt: skip
    machine, plan = with_capacity(toy, capacity, layout[0], reserve), Plan(layout[1])
    machine = replace(machine, stack=replace(machine.stack, chunk=chunk))
    for batch in (7, 100, 5000):
        found = ask(llama, machine, plan, prompt=prompt, output=output, batch=batch)
        if found.feasible:
            continue
        (reason,) = found.why
        named = re.search(r"; batch (\d+) fits", reason)
        largest = int(named[1]) if named else 0
        if named is None:
            assert "not even batch 1 fits" in reason or "the weights need" in reason
        assert largest < batch
        assert not ask(llama, machine, plan, prompt=prompt, output=output, batch=largest + 1).feasible
        assert largest == 0 or ask(llama, machine, plan, prompt=prompt, output=output, batch=largest).feasible


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 300), st.integers(1, 300))
def test_memory_that_is_just_enough_is_enough(toy: Machine, llama: Model, batch: int, prompt: int, output: int) -> None:
    held = ask(llama, toy, prompt=prompt, output=output, batch=batch).metrics.memory
    total = float(held.total)
    assert ask(llama, with_capacity(toy, total), prompt=prompt, output=output, batch=batch).feasible
    assume(batch > 1)
    tight = ask(llama, with_capacity(toy, total - 1), prompt=prompt, output=output, batch=batch)
    assert f"batch {batch - 1} fits" in tight.why[0]
    more = ask(llama, with_capacity(toy, total), prompt=prompt, output=output, batch=batch + 1)
    assert f"batch {batch} fits" in more.why[0]


def test_weights_that_do_not_fit_name_required_and_available(toy: Machine, llama: Model) -> None:
    found = ask(llama, with_capacity(toy, 200_000), prompt=10, output=10, batch=1)
    assert found.why == [
        "the weights need 288 kB, toy leaves 200 kB; fewer bits per weight (--recipe), "
        "more chips (--on 'N x …') or a larger one"
    ]
    assert "each chip of toy" in ask(llama, with_capacity(toy, 100_000, count=2), batch=1).why[0]


def test_a_request_longer_than_the_context_says_by_how_much(toy: Machine, llama: Model) -> None:
    large = with_capacity(toy, 1e9)
    assert ask(llama, large, prompt=2000, output=48, batch=1).feasible
    found = ask(llama, large, prompt=2000, output=60, batch=1)
    assert not found.feasible
    assert found.why == [
        "prompt + output need 2,060 tokens of context, llama has 2,048; shorten the prompt by 12 tokens"
    ]


def test_every_constraint_that_is_broken_is_named(toy: Machine, llama: Model) -> None:
    assert len(ask(llama, toy, prompt=5000, output=60, batch=64).why) == 2


@pytest.mark.parametrize(("recipe", "fits"), [("w4a16-rtn", True), ("w3a16-rtn", False)])
def test_a_format_without_a_kernel_is_infeasible_by_name(recipe: str, fits: bool) -> None:
    found = estimate("meta-llama/Llama-3.2-1B", "h100-sxm", Workload(), recipe)
    assert found.feasible is fits
    assert fits or "no kernel for int3-g128 weights" in found.why[0]


@pytest.mark.parametrize("chip", ["a100-sxm", "h100-sxm"])
def test_integer_inputs_without_a_kernel_are_infeasible(chip: str) -> None:
    for recipe, dtype in (("w4a4", "int4"), ("w4a8", "int8")):
        found = estimate("meta-llama/Llama-3.2-1B", chip, Workload(), recipe)
        assert found.why == [f"vLLM has no kernel for {dtype} inputs of packed weights; inputs of 16 bits have one"]
    assert estimate("meta-llama/Llama-3.2-1B", chip, Workload(), "w8a8").feasible  # its weights are bytes


@pytest.mark.parametrize("chip", ["tpu-v5e", "tpu-v6e", "gaudi3", "mi210", "mi300x", "mi325x"])
def test_packed_weights_do_not_run_where_the_engine_has_no_kernels(chip: str) -> None:
    found = estimate("meta-llama/Llama-3.2-1B", chip, Workload(), "w4a16-rtn")
    assert found.feasible is False
    assert found.why == [f"vLLM has no kernel for packed weights on {chip}"]
    assert estimate("meta-llama/Llama-3.2-1B", chip, Workload()).feasible


def test_a_stack_that_unpacks_at_load_runs_them_at_the_size_of_plain_ones() -> None:
    host = replace(load_machine("host"), packed=None)
    packed, plain = (estimate("Qwen/Qwen2.5-0.5B", host, Workload(prompt=16), r) for r in ("w4a16-rtn", "none"))
    assert packed.feasible is plain.feasible
    assert packed.metrics.memory.weights == plain.metrics.memory.weights
