"""Attention's time: limits in closed form, tiles and schedules by brute force, invariants, and measured kernels."""

import hashlib
import heapq
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost.attention import attention_cost, energy_j
from dovetail.cost.tiles import makespan, tiles
from dovetail.hardware.kernels import FLASH_2, FLASH_3, AttentionConstants, ChipFacts, EnergyConstants
from dovetail.model.operators import Attention

H100 = ChipFacts(989.4e12, 3.35e12, 50e6, 9.4e12, 132, 1.83e9)
H200 = replace(H100, bandwidth=4.8e12)
A100 = ChipFacts(312e12, 2.039e12, 40e6, 7.2e12, 108, 1.41e9)
# Fitted by bench/attention.py on the 5 % of heads shapes of lowest sha1.
ON_A100 = AttentionConstants(
    launch_s=4.35e-6, pass_s=3.45e-6, tile_s=0.966e-6, pipeline_s=0.427e-6, sequence_s=0.0, compute=0.667,
    score_clocks=0.0399, core_bandwidth=67.9e9, memory=0.775, resident=0.245, append=0.617, append_token_s=0.913e-9,
)  # fmt: skip
ON_H100 = AttentionConstants(
    launch_s=6.34e-6, pass_s=2.50e-6, tile_s=2.07e-6, pipeline_s=0.488e-6, sequence_s=21e-9, compute=0.967,
    score_clocks=0.0507, core_bandwidth=51.2e9, memory=1.0, resident=0.434, append=0.667, append_token_s=0.684e-9,
)  # fmt: skip
IDEAL = AttentionConstants(
    launch_s=0.0, pass_s=0.0, tile_s=0.0, pipeline_s=0.0, sequence_s=0.0, compute=1.0, score_clocks=0.0,
    core_bandwidth=1e15, memory=1.0, resident=1.0, append=1.0, append_token_s=0.0,
)  # fmt: skip
SETUPS = [(A100, FLASH_2, ON_A100), (H100, FLASH_3, ON_H100), (H100, FLASH_3, IDEAL)]

setups = st.sampled_from(SETUPS)
shapes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 300), "tokens": st.one_of(st.just(1), st.integers(2, 5000)),
        "context": st.integers(0, 40_000), "groups": st.integers(1, 16), "kv_heads": st.integers(1, 16),
        "head_dim": st.sampled_from([64, 128, 192, 256]), "window": st.sampled_from([None, 100, 1024]),
    }
)  # fmt: skip


def call(batch: Any, tokens: Any, context: Any, groups: Any, kv_heads: Any, head_dim: Any = 128, **more: Any) -> Any:
    return Attention(
        "attention", batch=batch, tokens=tokens, kv_len=context + tokens, heads=groups * kv_heads, kv_heads=kv_heads,
        head_dim=head_dim, **more,
    )  # fmt: skip


def seconds(setup: Any, shape: dict[str, Any], **options: Any) -> Any:
    chip, kernel, constants = setup
    return attention_cost(call(**shape), chip, kernel, constants, **options).time_s


def test_a_long_decode_takes_its_bytes_over_the_bandwidth() -> None:
    long = call(64, 1, 999_999, 8, 8)
    found = attention_cost(long, replace(H100, peak=1e18), FLASH_3, IDEAL)
    assert found.time_s == pytest.approx(64 * 8 * 2 * 128 * 2 * 1e6 / 3.35e12, rel=0.01)


def test_a_long_prefill_takes_its_flops_over_the_peak() -> None:
    long = call(8, 65_536, 0, 8, 8)
    found = attention_cost(long, H100, FLASH_3, IDEAL)
    assert found.time_s == pytest.approx(4 * 8 * 64 * 128 * (65_536**2 / 2) / 989.4e12, rel=0.01)


def test_an_empty_kernel_takes_its_launch_and_one_tile() -> None:
    one = attention_cost(call(1, 1, 0, 1, 1), H100, FLASH_3, replace(ON_H100, compute=1.0, core_bandwidth=1e15))
    block = 4 * 64 * 128 * 128 * 132 / 989.4e12 + 64 * 128 * 0.0507 / 1.83e9
    assert one.time_s == pytest.approx(6.34e-6 + 21e-9 + 2.07e-6 + block, rel=1e-3)


def blocks_of_tiles(a: Attention, rows: int, keys: int, folded: int) -> list[int]:
    """Blocks that each tile of one sequence and KV head visits, row by row and key by key."""
    visited = []
    queries = [token for token in range(a.tokens) for _ in range(folded)]
    for start in range(0, len(queries), rows):
        seen = set()
        for token in set(queries[start : start + rows]):
            end = a.kv_len - a.tokens + token + 1
            seen |= {key // keys for key in range(max(0, end - (a.window or end)), end)}
        visited.append(len(seen))
    return visited


@pytest.mark.parametrize("window", [None, 200])
@pytest.mark.parametrize(("tokens", "context", "groups"), [(1024, 0, 1), (512, 1000, 4), (1, 3000, 8), (130, 77, 2)])
def test_tiles_are_those_that_a_loop_visits(tokens: int, context: int, groups: int, window: int | None) -> None:
    shape = call(3, tokens, context, groups, 2, window=window)
    truth = blocks_of_tiles(shape, 128, 128, groups)
    found = tiles(shape, FLASH_3)
    assert found.count == 3 * 2 * len(truth)
    assert found.mean == pytest.approx(np.mean(truth), abs=0.75 if window else 0.5)
    assert found.longest == pytest.approx(max(truth), abs=1.0 if window else 0.0)


def scheduled(lengths: list[float], cores: int) -> float:
    """List scheduling: each tile goes to the core that is free first."""
    free = [0.0] * cores
    for length in lengths:
        heapq.heappush(free, heapq.heappop(free) + length)
    return max(free)


@pytest.mark.parametrize("count", [1, 131, 132, 133, 264, 500, 5000])
def test_equal_tiles_take_whole_waves(count: int) -> None:
    parts = tiles(call(count, 1, 999, 1, 1), FLASH_3)
    assert makespan(parts, 1.0, 2.0, 132, False) == pytest.approx(scheduled([1.0 + 2.0 * 8] * count, 132))


@pytest.mark.parametrize("longest_last", [False, True])
@pytest.mark.parametrize(("batch", "heads", "tokens"), [(1, 8, 4096), (4, 8, 2048), (16, 1, 2048), (2, 1, 16_384)])
def test_causal_tiles_take_what_a_simulated_schedule_takes(
    batch: int, heads: int, tokens: int, longest_last: bool
) -> None:
    parts = tiles(call(batch, tokens, 0, 1, heads), FLASH_3)
    one = [1.0 + 2.0 * (1 + i) for i in range(tokens // 128)]
    order = one * heads if longest_last else sorted(one * heads, reverse=True)
    found = makespan(parts, 1.0, 2.0, 132, longest_last)
    assert found == pytest.approx(scheduled(order * batch, 132), rel=0.15)


@given(setups, shapes, st.integers(1, 500), st.booleans())
def test_more_work_is_never_faster(setup: Any, shape: dict[str, Any], more: int, appends: bool) -> None:
    base = seconds(setup, shape, appends=appends)
    larger = [{**shape, "batch": shape["batch"] + more}, {**shape, "context": shape["context"] + more}]
    if shape["tokens"] > 1:  # one token a sequence is another path through the kernels
        larger.append({**shape, "tokens": shape["tokens"] + more})
    if shape["groups"] > 1:  # heads that share no keys are another path, too
        larger.append({**shape, "groups": shape["groups"] + more % 7})
    for other in larger:
        assert seconds(setup, other, appends=appends) >= base * (1 - 1e-12)


@given(setups, shapes, st.floats(1.0, 30.0), st.booleans())
def test_a_better_chip_is_never_slower(setup: Any, shape: dict[str, Any], factor: float, stays: bool) -> None:
    chip, kernel, constants = setup
    base = seconds(setup, shape, stays=stays)
    for name in ("peak", "bandwidth", "cache", "cache_bandwidth", "clock"):
        better = replace(chip, **{name: getattr(chip, name) * factor})
        assert seconds((better, kernel, constants), shape, stays=stays) <= base * (1 + 1e-12)


@given(setups, shapes)
def test_no_call_beats_the_peaks(setup: Any, shape: dict[str, Any]) -> None:
    chip, kernel, constants = setup
    found = attention_cost(call(**shape), chip, kernel, constants, appends=True)
    assert found.time_s >= call(**shape).executed_flops / chip.peak * (1 - 1e-12)
    assert found.flops >= call(**shape).executed_flops * (1 - 1e-12)
    assert found.time_s >= found.read / chip.bandwidth * (1 - 1e-12)


def test_without_a_cache_nothing_stays() -> None:
    chip, shape = replace(H100, cache=0.0, cache_bandwidth=H100.bandwidth), {"batch": 4, "tokens": 1, "context": 4096}
    again = attention_cost(call(**shape, groups=4, kv_heads=8), chip, FLASH_3, ON_H100, stays=True)
    first = attention_cost(call(**shape, groups=4, kv_heads=8), chip, FLASH_3, ON_H100)
    assert again.time_s == first.time_s


@given(setups, st.lists(shapes, min_size=1, max_size=6), st.booleans())
def test_points_together_equal_points_alone(setup: Any, points: list[dict[str, Any]], stays: bool) -> None:
    columns = {name: np.array([p[name] for p in points]) for name in points[0] if name != "window"}
    columns["window"] = np.array([p["window"] or 1 << 40 for p in points])
    together = seconds(setup, columns, stays=stays, appends=True)
    alone = [seconds(setup, point, stays=stays, appends=True) for point in points]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_keys_that_are_latent_or_selected_move_fewer_bytes() -> None:
    full = attention_cost(call(32, 1, 8191, 16, 1, 576, value_dim=512), H100, FLASH_3, ON_H100)
    latent = attention_cost(call(32, 1, 8191, 16, 1, 576, value_dim=512, latent=True), H100, FLASH_3, ON_H100)
    picked = attention_cost(call(32, 1, 8191, 16, 1, 576, value_dim=512, selected=2048), H100, FLASH_3, ON_H100)
    queries = 32 * 16 * (576 + 512) * 2
    assert latent.read - queries == pytest.approx((full.read - queries) * 576 / (576 + 512))
    assert picked.read - queries == pytest.approx((full.read - queries) / 4)
    assert picked.time_s < full.time_s
    assert latent.time_s < full.time_s


def test_a_chunked_view_costs_what_its_chunks_cost_alone() -> None:
    chunks = attention_cost(call(1, 8192, 0, 8, 8, window=1024, chunked=True), H100, FLASH_3, IDEAL)
    alone = attention_cost(call(8, 1024, 0, 8, 8), H100, FLASH_3, IDEAL)
    assert chunks.flops == pytest.approx(alone.flops)
    assert chunks.time_s == pytest.approx(alone.time_s, rel=0.05)


@given(setups, st.integers(2, 9000), st.integers(1, 9000), st.booleans())
def test_a_cache_cut_below_the_tokens_still_does_the_work(setup: Any, tokens: int, kept: int, causal: bool) -> None:
    chip, kernel, constants = setup
    cut = replace(call(2, tokens, 0, 4, 8, causal=causal), kv_len=min(kept, tokens))
    found = attention_cost(cut, chip, kernel, constants)
    assert found.flops >= cut.executed_flops * (1 - 1e-12)
    assert found.time_s <= attention_cost(call(2, tokens, 0, 4, 8, causal=causal), chip, kernel, constants).time_s


@given(st.floats(1e-6, 1.0), st.floats(0, 1e15), st.floats(0, 1e12))
def test_power_lies_between_active_and_limit(time_s: float, flops: float, moved: float) -> None:
    constants = EnergyConstants(active_w=250.0, j_per_flop=1e-12, j_per_byte=55e-12, limit_w=530.0)
    watts = energy_j(time_s, flops, moved, constants) / time_s
    assert 250.0 * (1 - 1e-12) <= watts <= 530.0 * (1 + 1e-12)


# The gates: MAPE measured by bench/attention.py, plus one point.
GATES = [
    ("a100_sxm/attention/vllm/0.14.0/context", A100, FLASH_2, ON_A100, True, 0.079),
    ("a100_sxm/attention/vllm/0.14.0/generation", A100, FLASH_2, ON_A100, True, 0.095),
    ("h100_sxm/attention/vllm/0.24.0/context", H100, FLASH_3, ON_H100, True, 0.090),
    ("h100_sxm/attention/vllm/0.24.0/generation", H100, FLASH_3, ON_H100, True, 0.083),
    ("h200_sxm/attention/vllm/0.22.0/context", H200, FLASH_3, ON_H100, False, 0.092),  # the H100's constants
    ("h200_sxm/attention/vllm/0.22.0/generation", H200, FLASH_3, ON_H100, False, 0.103),
]


@pytest.mark.parametrize(("table", "chip", "kernel", "constants", "appends", "most"), GATES)
def test_measured_kernels_are_met(
    data_folder: Path, table: str, chip: ChipFacts, kernel: Any, constants: Any, appends: bool, most: float
) -> None:
    attention, truth = measured(data_folder / "silicon" / "aiconfigurator" / f"{table}_attention_perf.parquet")
    found = attention_cost(attention, chip, kernel, constants, appends=appends, stays=True).time_s
    assert float(np.abs(found / truth - 1).mean()) < most


def measured(file: Path) -> tuple[Attention, Any]:
    """bf16 calls of the commonest kernel at head dims it has, without the shapes that constants were fitted on."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow reads the measured kernels")
    if not file.is_file():
        pytest.skip(f"no {file}")
    raw = parquet.read_table(file, filters=[("kv_cache_dtype", "=", "bfloat16")]).to_pydict()
    common = Counter(raw["kernel_source"]).most_common(1)[0][0]
    heads = [f"{h},{k}" for h, k in zip(raw["num_heads"], raw["num_key_value_heads"])]
    order = sorted(set(heads), key=lambda key: int(hashlib.sha1(key.encode()).hexdigest(), 16))
    fitted = set(order[: math.ceil(len(order) / 20)])
    keep = [
        source == common and shape not in fitted and dim <= 256
        for source, shape, dim in zip(raw["kernel_source"], heads, raw["head_dim"])
    ]
    get = {name: np.asarray(values)[keep] for name, values in raw.items()}
    window = get.get("window_size", np.zeros(sum(keep)))
    attention = Attention(
        "attention", batch=get["batch_size"], tokens=get["isl"], kv_len=get["isl"] + get["step"],
        heads=get["num_heads"], kv_heads=get["num_key_value_heads"], head_dim=get["head_dim"],
        window=np.where(window > 0, window, 1 << 40),
    )  # fmt: skip
    return attention, get["latency"] / 1e3
