"""The mixture's loads against Monte-Carlo and counting, its time against limits, invariants and measured kernels."""

import importlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.cost.mixture import Experts, Mixture, around_time, mixture_time, product_time
from dovetail.cost.routing import Balanced, PowerLaw, Routing, Uniform
from dovetail.hardware.kernels import EXPERT_TILES, MARLIN_TILES, ChipFacts, MixtureConstants, TileStep
from dovetail.model import Model

CHIP = ChipFacts(peak=1e15, bandwidth=3e12, cache=50e6, cache_bandwidth=9e12, cores=132, clock=1.8e9)
SHAPE = Mixture(hidden=4096, inner=1536, of=Experts(128, 8))
LAWS = [Balanced(), Uniform(), PowerLaw(1.01), PowerLaw(1.2)]
STACKS = [
    MixtureConstants(),
    MixtureConstants(tiles=EXPERT_TILES, tiles_by="tokens_per_expert"),
    MixtureConstants(tiles=MARLIN_TILES, tiles_by="rows_per_expert"),
    MixtureConstants(whole_step=False),
]

laws, stacks = st.sampled_from(LAWS), st.sampled_from(STACKS)
shapes = st.builds(
    lambda hidden, inner, gated, width, ways, mixture: Mixture(
        64 * hidden, 64 * inner, Experts(*mixture, ways, width), gated
    ),
    st.integers(1, 128), st.integers(1, 256), st.booleans(), st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([1, 2, 8]), st.sampled_from([(8, 2), (128, 8), (512, 22), (16, 1)]),
)  # fmt: skip
tokens = st.integers(1, 70_000)


# --- loads


@pytest.mark.parametrize(("count", "height", "tiles"), [(16, 64, 128), (1024, 64, 128), (1040, 64, 256), (4, 16, 32)])
def test_balanced_tiles_are_counted(count: int, height: int, tiles: int) -> None:
    loads = Balanced().loads(count, 8, 128, 1)
    assert loads.rows == 8 * count
    assert loads.active == min(128, 8 * count)
    assert loads.tiles(height) == tiles


def drawn(law: Routing, count: int, top_k: int, experts: int, draws: int = 200) -> np.ndarray:
    """Loads of all experts (draws, experts), drawn as the laws are defined, whole rows."""
    rng = np.random.default_rng(0)
    if isinstance(law, Uniform):
        order = np.argsort(rng.random((draws, count, experts)), axis=-1)[..., :top_k]
        return np.stack([np.bincount(o.ravel(), minlength=experts) for o in order])
    low, high = (1.0, 0.8 * count) if count * top_k > experts else (0.01, 2.0)
    power = 1.0 - law.exponent
    popularity = (low**power + rng.random((draws, experts)) * (high**power - low**power)) ** (1 / power)
    loads = np.rint(popularity / popularity.sum(1, keepdims=True) * count * top_k).clip(max=count)
    for row in loads:  # what rounding and the cap took goes one by one to the idlest, or leaves the busiest
        while (left := count * top_k - row.sum()) != 0:
            row[row.argmin() if left > 0 else row.argmax()] += np.sign(left)
    return loads


@pytest.mark.parametrize("law", LAWS[1:], ids=str)
@pytest.mark.parametrize(("count", "top_k", "experts"), [(4, 8, 128), (48, 8, 128), (300, 8, 128), (900, 2, 8)])
@pytest.mark.parametrize("height", [16, 64])
def test_expected_loads_agree_with_drawn_ones(law: Routing, count: int, top_k: int, experts: int, height: int) -> None:
    sample, loads = drawn(law, count, top_k, experts, 60), law.loads(count, top_k, experts, 1)
    assert loads.rows == pytest.approx(count * top_k)
    assert loads.active == pytest.approx((sample > 0).sum(1).mean(), rel=0.1)
    assert loads.tiles(height) == pytest.approx(np.ceil(sample / height).sum(1).mean(), rel=0.15)


@pytest.mark.parametrize("law", LAWS[1:], ids=str)
@pytest.mark.parametrize("ways", [2, 8, 32])
def test_the_busiest_chip_agrees_with_drawn_ones(law: Routing, ways: int) -> None:
    groups = drawn(law, 300, 8, 128, 100).reshape(100, ways, -1).sum(2)
    assert law.loads(300, 8, 128, ways).rows == pytest.approx(groups.max(1).mean(), rel=0.1)


def test_random_routing_reaches_the_experts_of_its_closed_form() -> None:
    assert Uniform().loads(1, 8, 128, 1).active == pytest.approx(8)
    assert Uniform().loads(10_000, 8, 128, 1).active == pytest.approx(128)
    assert Uniform().loads(20, 8, 128, 1).active == pytest.approx(128 * (1 - (15 / 16) ** 20))


# --- time


def test_many_tokens_cost_their_flops_at_the_rate_of_full_tiles() -> None:
    constants = replace(MixtureConstants(), overlap=1.0, tile_s=1e-15, regather=1e-9, scatter=1e9)
    found = mixture_time(2**20, SHAPE, CHIP, constants, Balanced())
    full = constants.compute * 128 / (128 + constants.ramp_rows)
    assert found.time_s == pytest.approx(2**23 * 6 * 4096 * 1536 / (1e15 * full) + 25e-6, rel=1e-6)


def test_one_token_reads_its_experts_once() -> None:
    constants = replace(MixtureConstants(), tile_s=1e-15, compute=1e9)
    found = mixture_time(1, SHAPE, CHIP, constants, Balanced())
    weights = 8 * 3 * 4096 * 1536 * 2
    assert found.bytes == pytest.approx(weights, rel=1e-2)
    assert found.time_s == pytest.approx(weights / (3e12 * constants.memory) + 25e-6, rel=1e-2)


def test_rows_of_weights_that_are_not_aligned_load_slower() -> None:
    aligned, ragged = (mixture_time(512, replace(SHAPE, inner=i), CHIP, MixtureConstants()) for i in (96, 92))
    assert ragged.time_s > 1.2 * aligned.time_s


def test_two_rows_of_tiles_read_large_weights_twice_unless_they_run_together() -> None:
    large = Mixture(hidden=16384, inner=32768, of=Experts(8, 1))
    apart, together = (
        mixture_time(1024, large, CHIP, MixtureConstants(tiles=(TileStep(float("inf"), 64, 64, n),)), Balanced()).bytes
        for n in (1, 2)
    )
    assert apart == pytest.approx(2 * together, rel=0.02)


def test_a_chip_without_a_cache_has_a_time() -> None:
    bare = replace(CHIP, cache=0.0)
    assert np.isfinite(mixture_time(4096, SHAPE, bare, MixtureConstants()).time_s)
    assert mixture_time(4096, SHAPE, bare, MixtureConstants()).bytes > mixture_time(4096, SHAPE, CHIP, STACKS[0]).bytes


@given(tokens, shapes, laws, stacks, st.integers(1, 5000))
def test_more_tokens_are_never_faster(count, shape, law, constants, more) -> None:
    few, many = (mixture_time(n, shape, CHIP, constants, law).time_s for n in (count, count + more))
    assert many >= few * (1 - (2e-3 if isinstance(law, PowerLaw) else 1e-9))  # its range of popularities changes once


@given(tokens, shapes, laws, stacks, st.floats(1.0, 50.0))
def test_a_better_chip_is_never_slower(count, shape, law, constants, factor) -> None:
    base = mixture_time(count, shape, CHIP, constants, law).time_s
    for name in ("peak", "bandwidth", "cache", "cores"):
        better = replace(CHIP, **{name: getattr(CHIP, name) * factor})
        assert mixture_time(count, shape, better, constants, law).time_s <= base * (1 + 1e-12)


@given(tokens, shapes, laws, stacks, st.integers(1, 40))
def test_larger_experts_are_never_faster(count, shape, law, constants, more) -> None:
    base = mixture_time(count, shape, CHIP, constants, law).time_s
    for larger in (replace(shape, hidden=shape.hidden + 64 * more), replace(shape, inner=shape.inner + 512 * more)):
        assert mixture_time(count, larger, CHIP, replace(constants, unaligned=1.0), law).time_s >= (
            mixture_time(count, shape, CHIP, replace(constants, unaligned=1.0), law).time_s * (1 - 1e-9)
        )
    assert mixture_time(count, replace(shape, gated=True), CHIP, constants, law).time_s >= base * (1 - 1e-9)


@given(tokens, shapes, laws, stacks)
def test_no_call_beats_the_peak_or_the_bandwidth(count, shape, law, constants) -> None:
    found = mixture_time(count, shape, CHIP, constants, law)
    loads = law.loads(count, shape.of.top_k, shape.of.experts, shape.of.ways)
    flops = 2 * loads.rows * (shape.wide + shape.inner) * shape.hidden
    assert found.time_s >= flops / CHIP.peak
    assert found.time_s >= found.bytes / CHIP.bandwidth * (1 - 1e-9)
    assert found.time_s <= (found.compute_s + found.memory_s + found.launch_s) * (1 + 1e-9)


@given(st.lists(st.tuples(tokens, shapes), min_size=1, max_size=6), laws, stacks)
def test_points_together_equal_points_alone(points, law, constants) -> None:
    counts, shapes_ = np.array([n for n, _ in points]), [s for _, s in points]
    of = Experts(*(np.array([getattr(s.of, f) for s in shapes_]) for f in Experts.__slots__))
    hidden, inner, gated = (np.array([getattr(s, f) for s in shapes_]) for f in ("hidden", "inner", "gated"))
    columns = Mixture(hidden, inner, of, gated)
    together = mixture_time(counts, columns, CHIP, constants, law)
    for i, (count, shape) in enumerate(points):
        alone = mixture_time(count, shape, CHIP, constants, law)
        for name in ("time_s", "compute_s", "memory_s", "launch_s", "bytes"):
            value = np.broadcast_to(getattr(together, name), counts.shape)[i]
            assert value == pytest.approx(float(getattr(alone, name)), rel=1e-12)


def test_the_operators_of_a_graph_name_the_same_products() -> None:
    graph = Model.load("mistralai/Mixtral-8x7B-v0.1").graph(batch=4, tokens=50, context=0)
    up, down = (next(o for o in graph.operators if o.name == f"experts_{n}") for n in ("gate_up", "down"))
    shape = Mixture(hidden=4096, inner=14336, of=Experts(8, 2))
    parts = [
        product_time(o.m / o.top_k, o.n, o.k, Experts(o.experts, o.top_k), CHIP, MixtureConstants(), gathers=o is up)
        for o in (up, down)
    ]
    whole = sum(parts, around_time(200, shape, CHIP, MixtureConstants()))
    assert whole.time_s == pytest.approx(mixture_time(200, shape, CHIP, MixtureConstants()).time_s, rel=1e-12)


# --- measured kernels


@pytest.fixture(scope="module")
def bench(root: Path) -> ModuleType:
    """The script that fits, imported from its folder."""
    pytest.importorskip("pyarrow", reason="the tables are parquet files")
    sys.path.insert(0, str(root / "bench"))
    try:
        return importlib.import_module("mixture")
    finally:
        sys.path.pop(0)


@dataclass(frozen=True)
class Gate:
    """Constants that bench/mixture.py fits on its shapes, and its held-out error with a point added."""

    chip: str
    dtype: str
    bound: float
    constants: dict[str, float]


GATES = [
    Gate("h100-sxm", "bfloat16", 0.091, {
        "compute": 0.746, "ramp_rows": 11.2, "memory": 1.0, "scatter": 0.798, "overlap": 0.705, "regather": 0.213,
        "unaligned": 7.02, "tile_s": 4.89e-7, "empty_tile_s": 1.43e-7, "launch_s": 25.3e-6, "remote_s": 5.57e-6,
    }),
    Gate("h100-sxm", "fp8", 0.12, {
        "compute": 0.3, "ramp_rows": 153, "memory": 0.241, "scatter": 0.466, "overlap": 0.63, "regather": 0.195,
        "unaligned": 1.76, "tile_s": 4.19e-6, "launch_s": 28.3e-6, "remote_s": 3.33e-6,
    }),
    Gate("h100-sxm", "fp8_block", 0.112, {
        "compute": 0.513, "ramp_rows": 9.75, "memory": 1.0, "scatter": 0.2, "overlap": 0.928, "regather": 0.203,
        "unaligned": 4.0, "tile_s": 1.47e-6, "launch_s": 21.5e-6, "remote_s": 2.98e-6,
    }),
    Gate("a100-sxm", "bfloat16", 0.165, {
        "compute": 0.519, "ramp_rows": 4.78, "memory": 0.927, "scatter": 1.0, "overlap": 0.22, "regather": 0.734,
        "unaligned": 4.0, "tile_s": 1.96e-7, "empty_tile_s": 2.27e-7, "launch_s": 29.8e-6, "remote_s": 8.51e-6,
    }),
]  # fmt: skip


@pytest.mark.parametrize("gate", GATES, ids=lambda g: f"{g.chip}-{g.dtype}")
def test_held_out_shapes_are_as_near_as_printed(bench, data_folder, gate) -> None:
    table = next(t for t in bench.TABLES if (t.chip, t.dtype) == (gate.chip, gate.dtype))
    calls = bench.read(data_folder, table)
    held = calls.only(~calls.fit)
    error = np.abs(bench.predict(held, replace(table.stack, **gate.constants)) / held.time_s - 1).mean()
    assert error < gate.bound
