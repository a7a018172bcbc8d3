"""Latent attention's time against closed forms, limits, invariants and measured kernels."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost.evaluate import evaluate
from dovetail.cost.gpu import model_of
from dovetail.cost.latent import latent_time
from dovetail.hardware import load_machine
from dovetail.hardware.kernels import ChipFacts, LatentConstants
from dovetail.model import Model
from dovetail.model.latents import LatentShape
from dovetail.model.operators import Attention

CHIP = ChipFacts(peak=1e15, bandwidth=3e12, cache=50e6, cache_bandwidth=9e12, cores=132, clock=1.8e9)
HOPPER = LatentConstants(short_tokens=512)
TRITON = LatentConstants(head_block=16, head_rows=16, splits=4, padded_values=True)
BARE = LatentConstants(expanded_gaps_s=0.0, absorbed_gaps_s=0.0, store_s=0.0, tile_s=0.0, tail=0.0)
V3 = LatentShape(512, 64, 128, 128)

stacks = st.sampled_from([LatentConstants(), HOPPER, TRITON, BARE])
shapes = st.builds(
    LatentShape, st.sampled_from([256, 512]), st.just(64), st.sampled_from([64, 128]), st.sampled_from([64, 128])
)
heads, sizes = st.integers(1, 128), st.sampled_from([1.0, 2.0])
batches, tokens, contexts = st.integers(1, 1024), st.integers(1, 30_000), st.integers(0, 100_000)
factors = st.floats(1.0, 50.0)


def call(heads=128, batch=1, tokens=1, context=0, shape=V3, decode=None, **rest) -> Attention:
    """One layer's attention, absorbed where one token is new."""
    absorbed = bool(np.all(np.asarray(tokens) == 1)) if decode is None else decode
    kv, channels, values = (1, shape.cached, shape.rank) if absorbed else (heads, shape.nope + shape.rope, shape.values)
    return Attention(
        "attention", batch=batch, tokens=tokens, kv_len=context + tokens, heads=heads, kv_heads=kv, head_dim=channels,
        value_dim=values, latent=absorbed, latents=shape, **rest,
    )  # fmt: skip


def test_a_long_prefill_costs_its_causal_flops() -> None:
    found = latent_time(call(tokens=2**17), CHIP, BARE)
    causal = 128 * 2**34 * (128 + 64 + 128)  # two FLOPs a channel for half of all pairs
    assert found.compute_s == pytest.approx(causal / (1e15 * BARE.expanded), rel=0.03)
    assert found.time_s == pytest.approx(found.compute_s, rel=0.05)


def test_a_chunk_of_prefill_costs_the_difference_of_two_prefills() -> None:
    whole, first = (latent_time(call(batch=4, tokens=n), CHIP, BARE).compute_s for n in (65536, 32768))
    chunk = latent_time(call(batch=4, tokens=32768, context=32768), CHIP, BARE).compute_s
    assert chunk == pytest.approx(whole - first, rel=1e-9)


def test_decode_reads_each_latent_once_for_all_heads() -> None:
    found = latent_time(call(16, 256, context=16383), CHIP, BARE)
    cached = 256 * 16384 * 576 * 2
    assert found.bytes == pytest.approx(cached, rel=0.02)
    assert found.time_s == pytest.approx(cached / (3e12 * BARE.memory), rel=0.2)
    half = latent_time(call(16, 256, context=16383), CHIP, BARE, cache_bytes=1.0)
    assert found.bytes - half.bytes == cached / 2


def test_decode_of_many_heads_costs_their_flops() -> None:
    chip, constants = replace(CHIP, bandwidth=1e13), replace(BARE, overlap=1.0)
    found = latent_time(call(128, 32, context=2**20 - 1), chip, constants)
    flops = 2 * 32 * 128 * 2**20 * (576 + 512)
    assert found.time_s == pytest.approx(flops / (1e15 * BARE.absorbed), rel=0.05)


def test_blocks_of_heads_read_the_cache_again_and_few_parts_leave_cores_idle() -> None:
    constants = replace(TRITON, overlap=1.0, absorbed_gaps_s=0.0)
    one, eight = (latent_time(call(h, 256, context=16383), CHIP, constants) for h in (16, 128))
    assert eight.time_s == pytest.approx(8 * one.time_s, rel=0.1)
    alone = latent_time(call(16, 1, context=2**20 - 1), CHIP, constants)
    assert alone.time_s == pytest.approx(2**20 * 1152 / (3e12 * TRITON.memory * 4 / 132), rel=0.02)


def test_a_short_call_takes_as_long_as_its_gaps() -> None:
    assert latent_time(call(1), CHIP, HOPPER).time_s == pytest.approx(HOPPER.absorbed_gaps_s, rel=0.05)
    plain = LatentConstants()
    assert latent_time(call(1, tokens=2), CHIP, plain).time_s == pytest.approx(plain.expanded_gaps_s, rel=0.05)


def test_short_prefills_are_absorbed_as_the_kernel_says() -> None:
    for new in (2, 200, 512):
        forced = latent_time(call(16, 8, new, 1000, decode=True), CHIP, HOPPER)
        assert latent_time(call(16, 8, new, 1000), CHIP, HOPPER).time_s == forced.time_s
    long = call(16, 8, 4096, 1000)
    assert latent_time(long, CHIP, HOPPER).time_s == latent_time(long, CHIP, replace(HOPPER, short_tokens=0)).time_s


def test_chosen_keys_bound_what_is_met_and_read() -> None:
    few = latent_time(call(16, 4, context=100_000, selected=2048), CHIP, BARE)
    same = latent_time(call(16, 4, context=2047), CHIP, BARE)
    assert (few.time_s, few.bytes) == pytest.approx((same.time_s, same.bytes))
    prompt = latent_time(call(128, 1, 2**17, selected=2048), CHIP, BARE)
    band = 2 * 128 * 2**17 * 2048 * 320 / (1e15 * BARE.expanded)
    assert prompt.compute_s == pytest.approx(band, rel=0.03)
    short = call(128, 1, 1024)
    assert latent_time(replace(short, selected=2048), CHIP, BARE).time_s == latent_time(short, CHIP, BARE).time_s


def test_without_latents_there_is_no_such_time() -> None:
    with pytest.raises(TypeError, match="no latents"):
        latent_time(replace(call(), latents=None), CHIP, BARE)


@given(heads, batches, tokens, contexts, shapes, stacks, factors, sizes)
def test_a_better_chip_is_never_slower(heads, batch, new, context, shape, constants, factor, size) -> None:
    for name in ("peak", "bandwidth"):
        better = replace(CHIP, **{name: getattr(CHIP, name) * factor})
        for one in (call(heads, batch, new, context, shape), call(heads, batch, 1, context, shape)):
            slow, fast = (latent_time(one, chip, constants, size).time_s for chip in (CHIP, better))
            assert fast <= slow * (1 + 1e-12)


@given(heads, batches, tokens, contexts, shapes, stacks, st.integers(1, 3000))
def test_more_work_is_never_faster(heads, batch, new, context, shape, constants, more) -> None:
    def time(heads=heads, batch=batch, new=new, context=context) -> float:
        return float(latent_time(call(heads, batch, new, context, shape), CHIP, constants).time_s)

    for larger in (time(batch=batch + more), time(context=context + more), time(heads=heads + more)):
        assert larger >= time() * (1 - 1e-12)
    if new > 1 or constants.short_tokens:
        assert time(new=new + more) >= time() * (1 - 1e-12)


@given(heads, batches, tokens, contexts, shapes, stacks)
def test_no_call_beats_the_peak_or_the_bandwidth(heads, batch, new, context, shape, constants) -> None:
    found = latent_time(call(heads, batch, new, context, shape, decode=False), CHIP, constants)
    pairs = new * context + new * (new + 1) / 2
    assert found.time_s >= 2 * batch * heads * pairs * (shape.nope + shape.rope + shape.values) / CHIP.peak
    decode = latent_time(call(heads, batch, 1, context, shape), CHIP, constants)
    assert decode.time_s >= 2 * batch * heads * (context + 1) * (2 * shape.rank + shape.rope) / CHIP.peak
    assert decode.time_s >= decode.bytes / CHIP.bandwidth * (1 - 1e-12)
    for one in (found, decode):
        assert one.time_s <= (one.compute_s + one.memory_s + one.launch_s) * (1 + 1e-9)


@given(st.lists(st.tuples(heads, batches, tokens, contexts, shapes), min_size=1, max_size=6), stacks)
def test_points_together_equal_points_alone(points, constants) -> None:
    count, batch, new, context = (np.array(c) for c in zip(*(p[:4] for p in points), strict=True))
    columns = LatentShape(*(np.array([getattr(p[4], n) for p in points]) for n in ("rank", "rope", "nope", "values")))
    for decode in (False, True):
        together = latent_time(call(count, batch, new, context, columns, decode), CHIP, constants)
        for i, (h, b, n, c, shape) in enumerate(points):
            alone = latent_time(call(h, b, n, c, shape, decode), CHIP, constants)
            for name in ("time_s", "compute_s", "memory_s", "launch_s", "bytes"):
                value = np.broadcast_to(getattr(together, name), batch.shape)[i]
                assert value == pytest.approx(float(getattr(alone, name)), rel=1e-12)


# --- in graphs


@pytest.mark.parametrize("name", ["deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3.2"])
@pytest.mark.parametrize(("machine", "cache"), [("h100-sxm", "bf16"), ("h100-sxm", "fp8"), ("a100-sxm", "bf16")])
def test_graphs_price_attention_by_these_constants_and_nothing_else(name, machine, cache) -> None:
    chip = load_machine(machine)
    for step in ({"tokens": 4096}, {"tokens": 1, "context": 8000}):
        graph = Model.load(name).graph(batch=8, kv_dtype=cache, **step)
        costs = {o.name: o for o in evaluate(graph, chip).operators}
        for operator in graph.operators:
            family = model_of(operator, chip).partition(".")[0]
            is_latent = isinstance(operator, Attention) and operator.latents is not None
            assert (family == "latent") == is_latent == operator.name.startswith("attention@")
            assert costs[operator.name].model == model_of(operator, chip)
            if operator.name.startswith("kv_b"):  # its products are not in attention
                assert family == "gemm"


def test_a_chip_without_them_prices_attention_as_any_other() -> None:
    chip = load_machine("h100-sxm")
    plain = replace(chip, kernels=replace(chip.kernels, latent={}))
    operator = call(16, 8, context=4000)
    assert model_of(operator, chip) == "latent.bf16"
    assert model_of(operator, plain) == "attention.bf16"


# --- measured kernels


@pytest.fixture(scope="module")
def bench(root: Path) -> ModuleType:
    """The script that fits, imported from its folder."""
    pytest.importorskip("pyarrow", reason="the tables are parquet files")
    sys.path.insert(0, str(root / "bench"))
    try:
        return importlib.import_module("latent")
    finally:
        sys.path.pop(0)


@pytest.mark.parametrize("index", [0, 1, 6])
def test_the_shipped_constants_are_those_the_fit_finds(bench, data_folder, index) -> None:
    table = bench.TABLES[index]
    calls = bench.read(data_folder, table)
    shipped = load_machine(table.chip).kernels.latent[table.entry]
    found, host = bench.fit(calls, replace(table.start, **{n: getattr(shipped, n) for n in bench.LIMITS}))
    mine, theirs = (
        np.abs(bench.hosted(calls, bench.predict(calls, one), h) / calls.time_s - 1)[calls.fit].mean()
        for one, h in ((shipped, table.host), (found, host))
    )
    assert mine <= theirs + 0.01  # another start finds nothing better


def test_the_measured_module_is_the_graphs(bench, data_folder) -> None:
    for index, stored in ((0, "bf16"), (2, "fp8_block")):
        calls = bench.read(data_folder, bench.TABLES[index])
        for group in calls.groups:
            names = [o.name.partition("@")[0] for o in group.operators]
            assert names == ["q_a", "q_a_norm", "q_b", "kv_a", "kv_a_norm", "rotary", "kv_b", "attention", "o"]
            assert group.attention.heads == calls.heads[group.rows[0]]
            blocks = {o.weights[0].format.block is not None for o in group.operators if o.name.startswith("q_a@")}
            assert blocks == {stored == "fp8_block"}
