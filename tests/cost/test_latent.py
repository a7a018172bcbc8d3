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

from dovetail.cost.latent import Latent, decode_time, prefill_time, project_time
from dovetail.hardware.kernels import ChipFacts, LatentConstants

CHIP = ChipFacts(peak=1e15, bandwidth=3e12, cache=50e6, cache_bandwidth=9e12, cores=132, clock=1.8e9)
HOPPER = LatentConstants(short_tokens=512)
TRITON = LatentConstants(head_block=16, head_rows=16, splits=4, padded_values=True)
BARE = LatentConstants(kernels_s=0.0, prefill_floor_s=0.0, decode_floor_s=0.0, store_s=0.0, tile_s=0.0, tail=0.0)

stacks = st.sampled_from([LatentConstants(), HOPPER, TRITON, BARE])
shapes = st.builds(
    Latent, st.integers(1, 128), st.sampled_from([256, 512]), st.just(64), st.sampled_from([64, 128]),
    st.sampled_from([64, 128]), st.sampled_from([1.0, 2.0]),
)  # fmt: skip
batches, tokens, contexts = st.integers(1, 1024), st.integers(1, 30_000), st.integers(0, 100_000)
factors = st.floats(1.0, 50.0)


def test_a_long_prefill_costs_its_causal_flops() -> None:
    found = prefill_time(1, 2**17, Latent(128), CHIP, BARE)
    causal = 128 * 2**34 * (128 + 64 + 128)  # two FLOPs a channel for half of all pairs
    assert found.compute_s == pytest.approx(causal / (1e15 * BARE.compute), rel=0.03)
    assert found.time_s == pytest.approx(found.compute_s, rel=0.05)


def test_a_chunk_of_prefill_costs_the_difference_of_two_prefills() -> None:
    whole, first = (prefill_time(4, n, Latent(128), CHIP, BARE).compute_s for n in (65536, 32768))
    chunk = prefill_time(4, 32768, Latent(128), CHIP, BARE, context=32768)
    attend = 2 * 65536 * 4 * Latent(128).expansion / (1e15 * BARE.project)  # each expands what it sees
    assert chunk.compute_s - attend == pytest.approx(whole - attend - (first - attend / 2), rel=1e-9)


def test_decode_reads_each_latent_once_for_all_heads() -> None:
    found = decode_time(256, 16384, Latent(16), CHIP, BARE)
    cached = 256 * 16384 * 576 * 2
    assert found.bytes == pytest.approx(cached, rel=0.02)
    assert found.time_s == pytest.approx(cached / (3e12 * BARE.memory), rel=0.2)


def test_decode_of_many_heads_costs_their_flops() -> None:
    found = decode_time(32, 2**20, Latent(128), replace(CHIP, bandwidth=1e13), replace(BARE, overlap=1.0))
    flops = 2 * 32 * 128 * 2**20 * (576 + 512)
    assert found.time_s == pytest.approx(flops / (1e15 * BARE.compute), rel=0.05)


def test_blocks_of_heads_read_the_cache_again_and_few_parts_leave_cores_idle() -> None:
    one, eight = (decode_time(256, 16384, Latent(h), CHIP, replace(TRITON, overlap=1.0)) for h in (16, 128))
    assert eight.time_s == pytest.approx(8 * one.time_s, rel=0.1)
    alone = decode_time(1, 2**20, Latent(16), CHIP, replace(TRITON, overlap=1.0))
    assert alone.time_s == pytest.approx(2**20 * 1152 / (3e12 * TRITON.memory * 4 / 132), rel=0.02)


def test_a_short_call_takes_as_long_as_its_launch() -> None:
    assert decode_time(1, 1, Latent(1), CHIP, HOPPER).time_s == HOPPER.decode_floor_s
    assert prefill_time(1, 1, Latent(1), CHIP, HOPPER).time_s == HOPPER.prefill_floor_s


def test_projections_of_many_rows_cost_their_flops_and_of_one_row_their_weights() -> None:
    weights = 7168 * (1536 + 576) + 1536 * 128 * 192 + 128 * 128 * 7168
    many, one = (project_time(n, 7168, 1536, Latent(128), CHIP, replace(BARE, pointwise=1e9)) for n in (2**20, 1))
    assert many.time_s == pytest.approx(2 * 2**20 * weights / (1e15 * BARE.project), rel=1e-9)
    assert one.time_s == pytest.approx(2 * weights / (3e12 * BARE.memory), rel=1e-3)


@given(batches, tokens, contexts, shapes, stacks, factors)
def test_a_better_chip_is_never_slower(batch, new, context, shape, constants, factor) -> None:
    for name in ("peak", "bandwidth"):
        better = replace(CHIP, **{name: getattr(CHIP, name) * factor})
        for chip_time in (
            lambda chip: prefill_time(batch, new, shape, chip, constants, context),
            lambda chip: decode_time(batch, context + 1, shape, chip, constants),
        ):
            assert chip_time(better).time_s <= chip_time(CHIP).time_s * (1 + 1e-12)


@given(batches, tokens, contexts, shapes, stacks, st.integers(1, 3000))
def test_more_work_is_never_faster(batch, new, context, shape, constants, more) -> None:
    base = prefill_time(batch, new, shape, CHIP, constants, context).time_s
    wider = replace(shape, heads=shape.heads + more)
    for larger in (
        prefill_time(batch + more, new, shape, CHIP, constants, context),
        prefill_time(batch, new + more, shape, CHIP, constants, context),
        prefill_time(batch, new, shape, CHIP, constants, context + more),
        prefill_time(batch, new, wider, CHIP, constants, context),
    ):
        assert larger.time_s >= base * (1 - 1e-12)
    base = decode_time(batch, context + 1, shape, CHIP, constants).time_s
    for larger in (
        decode_time(batch, context + 1 + more, shape, CHIP, constants),
        decode_time(batch + more, context + 1, shape, CHIP, constants),
    ):
        assert larger.time_s >= base * (1 - 1e-12)


@given(batches, tokens, contexts, shapes, stacks)
def test_no_call_beats_the_peak_or_the_bandwidth(batch, new, context, shape, constants) -> None:
    found = prefill_time(batch, new, shape, CHIP, constants, context)
    pairs = new * context + new * (new + 1) / 2
    assert found.time_s >= 2 * batch * shape.heads * pairs * (shape.nope + shape.rope + shape.values) / CHIP.peak
    decode = decode_time(batch, context + 1, shape, CHIP, constants)
    assert decode.time_s >= 2 * batch * shape.heads * (context + 1) * (2 * shape.rank + shape.rope) / CHIP.peak
    assert decode.time_s >= decode.bytes / CHIP.bandwidth * (1 - 1e-12)
    for call in (found, decode):
        assert call.time_s <= (call.compute_s + call.memory_s + call.launch_s) * (1 + 1e-9)


@given(st.lists(st.tuples(batches, tokens, contexts, shapes), min_size=1, max_size=6), stacks)
def test_points_together_equal_points_alone(points, constants) -> None:
    batch, new, context = (np.array(c) for c in zip(*(p[:3] for p in points), strict=True))
    names = ("heads", "rank", "rope", "nope", "values", "cache_bytes")
    columns = Latent(*(np.array([getattr(p[3], n) for p in points]) for n in names))
    prefill = prefill_time(batch, new, columns, CHIP, constants, context)
    decode = decode_time(batch, context + 1, columns, CHIP, constants)
    for i, (b, n, c, shape) in enumerate(points):
        for together, alone in (
            (prefill, prefill_time(b, n, shape, CHIP, constants, c)),
            (decode, decode_time(b, c + 1, shape, CHIP, constants)),
        ):
            for name in ("time_s", "compute_s", "memory_s", "launch_s", "bytes"):
                value = np.broadcast_to(getattr(together, name), batch.shape)[i]
                assert value == pytest.approx(float(getattr(alone, name)), rel=1e-12)


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


@pytest.mark.parametrize(("index", "bound"), [(0, 0.108), (1, 0.07), (2, 0.134), (3, 0.134)])
def test_held_out_heads_are_as_near_as_printed(bench, data_folder, index, bound) -> None:
    calls = bench.read(data_folder, bench.TABLES[index])
    held = calls.only(~calls.fit)
    assert np.abs(bench.predict(held, bench.fit(calls)) / held.time_s - 1).mean() < bound
