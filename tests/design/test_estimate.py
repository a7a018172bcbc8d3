"""A whole estimate against the same worked out by hand, operator by operator; arrays against scalars; intervals."""

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.errors import DovetailError
from dovetail.core.quantity import Kind
from dovetail.design import Estimate, Plan, estimate
from dovetail.design.points import flat, table
from dovetail.hardware import Machine
from dovetail.hardware.machine import Source
from dovetail.model import Model
from dovetail.recipe.recipe import Recipe
from dovetail.workload import Workload

D, HEADS, KV, HEAD, F, VOCAB, LAYERS = 64, 4, 2, 16, 128, 256, 3


def operators(batch: int, tokens: int, context: float) -> Iterator[tuple[int, float, float]]:
    """(repetitions, FLOPs, bytes) of every operator of a bf16 step, from the definition of a Llama."""
    rows, kv_len, q, kv = batch * tokens, context + tokens, HEADS * HEAD, KV * HEAD
    seen = sum(context + i + 1 for i in range(tokens))  # keys of every query: causal

    def product(m: float, n: int, k: int) -> tuple[float, float]:
        return 2 * m * n * k, 2 * n * k + 2 * m * (n + k)

    yield 1, 0, 4 * rows * D  # embedding
    yield 2 * LAYERS + 1, 4 * rows * D, 4 * rows * D  # norms
    yield LAYERS, *product(rows, q + 2 * kv, D)
    yield LAYERS, 3 * rows * (q + kv), 4 * rows * (q + kv)  # rotary
    yield LAYERS, 4 * batch * HEADS * HEAD * seen, 2 * (2 * batch * kv_len * kv + 2 * rows * q)  # attention
    yield LAYERS, *product(rows, D, q)
    yield 2 * LAYERS, rows * D, 6 * rows * D  # residuals
    yield LAYERS, *product(rows, 2 * F, D)
    yield LAYERS, 5 * rows * F, 6 * rows * F  # activation
    yield LAYERS, *product(rows, D, F)
    yield 1, *product(batch, VOCAB, D)


def by_hand(batch: int, tokens: int, context: float) -> tuple[float, float]:
    """Seconds and joules of a step on the toy machine."""
    seconds, joules = 50e-6, 50e-6 * 20
    for repeat, flops, size in operators(batch, tokens, context):
        one = max(flops / 0.5e12, size / 80e9) + 3e-6
        seconds += repeat * one
        joules += repeat * min(20 * one + flops * 1e-12 + size * 1e-10, 100 * one)
    return seconds, joules


@pytest.mark.parametrize(
    ("batch", "prompt", "output"), [(1, 1, 1), (2, 64, 1), (3, 100, 2), (4, 64, 33), (16, 300, 200)]
)
def test_an_estimate_is_what_a_hand_works_out(toy: Machine, llama: Model, batch: int, prompt: int, output: int) -> None:
    found = estimate(llama, toy, Workload(prompt=prompt, output=output, batch=batch)).metrics
    ttft, first = by_hand(batch, prompt, 0)
    tpot, each = by_hand(batch, 1, prompt + max(output - 2, 0) / 2)
    e2e, tokens = ttft + (output - 1) * tpot, batch * output
    joules = first + (output - 1) * each
    expected = {
        "ttft": ttft, "tpot": tpot, "e2e": e2e, "throughput": tokens / e2e, "energy_per_token": joules / tokens,
        "usd_per_mtok": e2e * 1e-3 / tokens * 1e6, "power": joules / e2e,
    }  # fmt: skip
    assert {name: flat(found)[name] for name in expected} == pytest.approx(expected, rel=1e-9)


def test_memory_is_what_a_hand_works_out(toy: Machine, llama: Model) -> None:
    """The last token made is never fed back, so that the caches end with prompt + output - 1 tokens."""
    held = estimate(llama, toy, Workload(prompt=100, output=50, batch=4)).metrics.memory
    layer = D * (HEADS + 2 * KV) * HEAD + D * D + 3 * D * F + 2 * D
    assert held.weights == 2 * (2 * VOCAB * D + LAYERS * layer + D)
    assert held.kv_cache == LAYERS * 4 * 149 * 2 * KV * HEAD * 2
    assert held.activations == 2 * 400 * (3 * D + max(D + 2 * F, 3 * F))
    assert held.workspace == 4 * VOCAB * 4
    assert (held.communication, held.fragmentation) == (0, 0)
    assert held.capacity == 4e6
    one = estimate(llama, toy, Workload(prompt=100, output=1)).metrics.memory
    assert one.kv_cache == LAYERS * 100 * 2 * KV * HEAD * 2


requests = st.tuples(st.integers(1, 900), st.integers(1, 900), st.integers(1, 64))
RECIPES = ["none", "w4a16-rtn:group=64", "prune50"]


@given(st.lists(requests, min_size=1, max_size=6), st.sampled_from(RECIPES), st.sampled_from([1, 2, 4]), st.data())
def test_arrays_are_points_together(toy: Machine, llama: Model, points, recipe: str, chips: int, data) -> None:
    machine, plan = replace(toy, count=chips), Plan(data.draw(st.sampled_from([t for t in (1, 2, 4) if t <= chips])))
    prompt, output, batch = (np.array(column) for column in zip(*points))
    together = estimate(llama, machine, Workload(prompt=prompt, output=output, batch=batch), recipe, plan)
    columns = {name: np.broadcast_to(value, batch.shape) for name, value in flat(together.metrics).items()}
    blocks = table(llama, machine, Recipe.load(recipe), plan, together.workload)
    for i, (p, o, b) in enumerate(points):
        alone = estimate(llama, machine, Workload(prompt=p, output=o, batch=b), recipe, plan)
        assert together.feasible[i] == alone.feasible
        for name, value in flat(alone.metrics).items():
            assert columns[name][i] == pytest.approx(value, rel=1e-12)
            assert blocks[name][i] == pytest.approx(value, rel=1e-12)


def test_a_long_column_is_evaluated_in_blocks(toy: Machine, llama: Model) -> None:
    work = Workload(prompt=16, output=np.arange(1, 501), batch=np.arange(1, 21)[:, None])
    blocks = table(llama, toy, Recipe.load("none"), Plan(), work)
    whole = flat(estimate(llama, toy, work).metrics)
    for name, column in blocks.items():
        assert column.shape == (10_000,)
        np.testing.assert_allclose(column, np.broadcast_to(whole[name], (20, 500)).ravel(), rtol=1e-12)


def test_one_replica_of_several_does_its_share_and_one_without_requests_idles(toy: Machine, llama: Model) -> None:
    def one(batch: int, chips: int) -> Estimate:
        return estimate(llama, replace(toy, count=chips), Workload(prompt=64, output=9, batch=batch), plan=Plan(1))

    alone, even, half = one(3, 1).metrics, one(6, 2).metrics, one(1, 2).metrics
    assert even.e2e_s == pytest.approx(alone.e2e_s)
    assert even.throughput == pytest.approx(2 * alone.throughput)
    assert even.energy_per_token_j == pytest.approx(alone.energy_per_token_j)
    assert even.usd_per_token == pytest.approx(alone.usd_per_token)
    single = one(1, 1).metrics
    assert half.throughput == pytest.approx(single.throughput)
    assert half.power_w == pytest.approx(single.power_w + toy.idle_w)
    assert half.usd_per_token == pytest.approx(2 * single.usd_per_token)
    assert one(5, 4).metrics.e2e_s == pytest.approx(one(2, 1).metrics.e2e_s)


def test_chips_that_share_layers_hold_parts_and_pay_the_link(toy: Machine, llama: Model) -> None:
    work = Workload(prompt=64, output=9, batch=4)
    one, two = (estimate(llama, replace(toy, count=n), work).metrics for n in (1, 2))
    assert two.memory.kv_cache == one.memory.kv_cache / 2
    assert one.memory.weights / 2 < two.memory.weights < one.memory.weights / 2 + 4 * 2 * D * 7
    assert two.usd_per_token == pytest.approx(two.e2e_s * 2 * 1e-3 / 36)


@pytest.mark.parametrize("tp", [3, 5, -1])
def test_groups_that_do_not_divide_the_chips_are_refused(toy: Machine, llama: Model, tp: int) -> None:
    with pytest.raises(DovetailError, match=r"does not divide 4 chips|not a number of chips"):
        estimate(llama, replace(toy, count=4), plan=Plan(tp))


def test_intervals_are_the_spread_and_kinds_follow_the_efficiency(toy: Machine, llama: Model) -> None:
    found = estimate(llama, toy, Workload(prompt=64, output=8))
    for q in (found.ttft, found.tpot, found.throughput, found.usd_per_mtok):
        assert q is not None
        assert (q.low, q.high) == pytest.approx((q.value / 1.25, q.value * 1.25))
        assert q.kind == "calibrated"
    assert found.throughput.high == pytest.approx(8 / (found.metrics.e2e_s / 1.25))
    assert all(q.low == q.value == q.high for q in found.memory().values())
    guessed = estimate(llama, replace(toy, sources={}))
    assert guessed.ttft.kind == "modelled"


def without(machine: Machine, *paths: str, kind: Kind = "modelled") -> Machine:
    return replace(machine, sources={**machine.sources, **{path: Source(kind, "a guess") for path in paths}})


@pytest.mark.parametrize(
    ("guess", "chips", "calibrated"),
    [
        ((), 1, {"tpot", "throughput", "energy_per_token", "usd_per_mtok"}),
        (("power.idle",), 1, {"tpot", "throughput", "usd_per_mtok"}),
        (("energy.per_byte",), 1, {"tpot", "throughput", "usd_per_mtok"}),
        (("energy.per_flop.bf16",), 1, {"tpot", "throughput", "usd_per_mtok"}),
        (("energy.per_flop.fp32",), 1, {"tpot", "throughput", "energy_per_token", "usd_per_mtok"}),
        (("price",), 1, {"tpot", "throughput", "energy_per_token"}),
        (("link",), 1, {"tpot", "throughput", "energy_per_token", "usd_per_mtok"}),
        (("link",), 2, set()),
        (("efficiency",), 1, set()),
    ],
)
def test_a_metric_is_known_as_well_as_the_weakest_of_its_constants(
    toy: Machine, llama: Model, guess: tuple[str, ...], chips: int, calibrated: set[str]
) -> None:
    found = estimate(llama, replace(without(toy, *guess), count=chips))
    kinds = {name: getattr(found, name).kind for name in ("tpot", "throughput", "energy_per_token", "usd_per_mtok")}
    assert {name for name, kind in kinds.items() if kind == "calibrated"} == calibrated
    assert {kinds[name] for name in kinds if name not in calibrated} <= {"modelled"}
    energy = found.energy_per_token
    factor = 1.4 if "energy_per_token" in calibrated else 1.5
    assert (energy.low, energy.high) == pytest.approx((energy.value / factor, energy.value * factor))


def test_a_wide_spread_is_the_energy_s_too(toy: Machine, llama: Model) -> None:
    wide = replace(toy, efficiency=replace(toy.efficiency, spread=0.8))
    energy = estimate(llama, wide).energy_per_token
    assert energy.high == pytest.approx(1.8 * energy.value)


def test_a_price_is_literature_at_best_where_the_rent_is(toy: Machine, llama: Model) -> None:
    price = estimate(llama, without(toy, "price", kind="literature")).usd_per_mtok
    assert price is not None
    assert price.kind == "literature"


@pytest.mark.parametrize("chunk", [1, 64, 399, 400, 5000])
def test_chunks_bound_the_activations_and_nothing_else(toy: Machine, llama: Model, chunk: int) -> None:
    work, stack = Workload(prompt=100, output=50, batch=4), replace(toy.stack, chunk=chunk)
    whole, parts = (estimate(llama, machine, work).metrics for machine in (toy, replace(toy, stack=stack)))
    rows = min(400, chunk)
    logits = 4 * (D + VOCAB)  # one row of each request, whatever the chunk
    assert parts.memory.activations == 2 * (3 * rows * D + max(rows * (D + 2 * F), rows * 3 * F, logits))
    assert (parts.ttft_s, parts.tpot_s) == (whole.ttft_s, whole.tpot_s)
    assert parts.memory.kv_cache == whole.memory.kv_cache


def test_the_json_is_plain_and_a_machine_without_rent_has_no_price(toy: Machine, llama: Model) -> None:
    found = json.loads(json.dumps(estimate(llama, toy).to_json(), allow_nan=False))
    assert found["feasible"] is True
    assert found["why"] == []
    assert found["memory_capacity"]["source"] == "a round number"
    assert set(found["bottleneck"]) == {"prefill", "decode"}
    free = estimate(llama, replace(toy, usd_per_hour=float("nan")))
    assert free.usd_per_mtok is None
    assert json.loads(json.dumps(free.to_json(), allow_nan=False))["usd_per_mtok"] is None


def test_names_are_resolved_and_unknown_ones_answered(toy_yaml, llama: Model) -> None:
    assert estimate(llama, str(toy_yaml)).machine.name == "toy"
    assert estimate(llama, f"2 x {toy_yaml}").machine.count == 2
    with pytest.raises(DovetailError, match="did you mean"):
        estimate(llama, "h100-smx")
    with pytest.raises(DovetailError, match="did you mean"):
        estimate(llama, toy_yaml, recipe="w4a16-rnt")
