"""The roofline of operators and of whole steps against forms written out here, on a machine with round numbers."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dovetail.core.errors import INFEASIBLE, DovetailError
from dovetail.core.formats import packed_int, plain
from dovetail.cost import GraphCost, evaluate, matmul, memory
from dovetail.cost.memory import cache_bytes, page_bytes
from dovetail.hardware import load_machine
from dovetail.hardware.machine import Efficiency, Machine, MemoryLevel, Stack
from dovetail.model import Model
from dovetail.model.graph import Cache, Graph
from dovetail.model.operators import Attention, Collective, Linear, Pointwise, Weight

PEAK, BANDWIDTH, COMPUTE, MEMORY, LAUNCH = 1e12, 1e11, 0.5, 0.8, 3e-6
BARE = Stack("bare", launch_s=LAUNCH, reserve=0.0)


def machine(stack: Stack = BARE, caches: tuple[MemoryLevel, ...] = (), **changes: Any) -> Machine:
    """1 TFLOP/s, 100 GB/s, half and four fifths of it reached, 3 us a launch, 100 W at most, 20 W idle."""
    toy = Machine(
        name="toy", title="Toy", kind="asic", vendor="", peak={"bf16": PEAK, "fp32": PEAK / 4},
        memory=MemoryLevel("M", 1e9, BANDWIDTH), caches=caches, link=1e9, tdp_w=100.0, idle_w=20.0,
        j_per_flop={"bf16": 1e-12, "fp32": 4e-12}, j_per_byte=1e-10, usd_per_hour=1.0, area_mm2=1.0, process_nm=1.0,
        efficiency=Efficiency(COMPUTE, MEMORY), stack=stack,
    )  # fmt: skip
    return replace(toy, **changes)


def product(m: float, n: int, k: int, form: Any = None, layers: int = 0, **rest: Any) -> Linear:
    weight = Weight("w", n, k, form or plain("bf16"), experts=rest.get("experts", 1))
    return Linear("gemm", tuple(range(layers)), (weight,), m=m, k=k, n=n, **rest)


def step(*operators: Any, on: Machine) -> GraphCost:
    return evaluate(Graph(operators, (), 1, 1, 0, 8), on)


def roofline(flops: float, size: float) -> float:
    return max(flops / (PEAK * COMPUTE), size / (BANDWIDTH * MEMORY))


@pytest.mark.parametrize(("m", "bound"), [(1, "memory"), (64, "compute"), (4096, "compute")])
def test_a_product_takes_the_longer_of_arithmetic_and_memory(m: int, bound: str) -> None:
    n, k = 3000, 2000
    found = step(product(m, n, k), on=machine())
    flops, size = 2 * m * n * k, 2 * n * k + 2 * m * (n + k)
    assert found.time_s == pytest.approx(roofline(flops, size) + LAUNCH, rel=1e-12)
    assert (found.flops, found.bytes) == (flops, size)
    assert found.operators[0].bound == bound


def test_the_bottleneck_adds_up_an_operator_over_the_kinds_of_layer() -> None:
    """The longest single one is `b`; the two kinds of `a` together take longer."""
    shapes = {"a@0": 3000, "a@1.x": 3000, "a@1": 3000, "b": 4000}
    found = step(*(replace(product(1, n, 2000), name=name) for name, n in shapes.items()), on=machine())
    assert found.bottleneck() == "memory (100% of the time; most in a)"
    alone = step(product(1, 3000, 2000), on=machine(replace(BARE, step_s=1.0)))
    assert alone.bottleneck() == "step overhead (100% of the time)"


@pytest.mark.parametrize(
    ("shape", "bound"), [((1, 8, 8), "launch"), ((1, 8192, 8192), "memory"), ((8192,) * 3, "compute")]
)
@pytest.mark.parametrize("on", ["h100-sxm", "tpu-v6e"])
def test_the_public_product_names_what_binds(on: str, shape: tuple[int, int, int], bound: str) -> None:
    assert matmul(*shape, machine=on).bound == bound


def test_repeated_layers_repeat_time_bytes_and_launches_and_a_step_costs_once() -> None:
    on = machine(replace(BARE, step_s=1e-3))
    once, ten = step(product(4, 512, 256), on=on), step(product(4, 512, 256, layers=10), on=on)
    assert ten.time_s - 1e-3 == pytest.approx(10 * (once.time_s - 1e-3), rel=1e-12)
    assert ten.bytes == pytest.approx(10 * once.bytes)
    assert ten.operators[0].launch_s == pytest.approx(10 * LAUNCH)


def test_without_overlap_times_add_up() -> None:
    on = machine(efficiency=Efficiency(COMPUTE, MEMORY, overlap=0.25))
    m, n, k = 30, 1000, 1000
    compute, moved = 2 * m * n * k / (PEAK * COMPUTE), (2 * n * k + 2 * m * (n + k)) / (BANDWIDTH * MEMORY)
    expected = max(compute, moved) + 0.75 * min(compute, moved) + LAUNCH
    assert step(product(m, n, k), on=on).time_s == pytest.approx(expected, rel=1e-12)


def test_packed_weights_are_read_packed_where_there_are_kernels_and_unpacked_where_not() -> None:
    packed = product(1, 1024, 1024, packed_int(4, 128))
    activations = 2 * (1024 + 1024)
    with_kernels = step(packed, on=machine())
    assert with_kernels.bytes - activations == 1024 * (1024 * 4 / 8 + 1024 / 128 * 2)
    without = step(packed, on=machine(replace(BARE, packed_weights=False)))
    assert (
        without.bytes - activations == 2 * 1024 * 1024 == step(product(1, 1024, 1024), on=machine()).bytes - activations
    )
    assert without.time_s > 3 * (with_kernels.time_s - LAUNCH)


def test_a_stack_that_computes_in_fp32_unpacks_to_fp32() -> None:
    host = machine(replace(BARE, packed_weights=False, compute="fp32"))
    for form in (plain("bf16"), packed_int(4, 128), replace(packed_int(4, 16), scale="fp8")):
        found = step(product(1, 1024, 1024, form), on=host)
        assert found.bytes == 4 * (1024 * 1024 + 2 * 1024)
        assert found.operators[0].dtype == "fp32"


def test_unpacking_costs_flops_a_weight_on_top_of_the_rest() -> None:
    form = packed_int(4, 128)
    plain_stack, slow = machine(), machine(replace(BARE, unpack_flops=70.0))
    for m in (1, 1000):
        extra = (
            step(product(m, 512, 512, form), on=slow).time_s - step(product(m, 512, 512, form), on=plain_stack).time_s
        )
        assert extra == pytest.approx(512 * 512 * 70 / PEAK, rel=1e-9)
    dense = product(1, 512, 512)
    assert step(dense, on=slow).time_s == step(dense, on=plain_stack).time_s


def test_a_step_that_fits_in_the_cache_streams_at_its_bandwidth_and_one_twice_its_size_from_memory() -> None:
    size = 2 * 1000 * 500  # weights; one row of activations is far below half a cache
    activations, cache_bandwidth = 2 * 1500, 1e12

    def seconds(capacity: float) -> float:
        on = machine(caches=(MemoryLevel("L", capacity, cache_bandwidth),), peak={"bf16": 1e15})
        return float(step(product(1, 1000, 500), on=on).time_s) - LAUNCH

    fast, slow = size / cache_bandwidth, size / (BANDWIDTH * MEMORY)
    for capacity, expected in ((size, fast), (size / 1.5, (fast + slow) / 2), (size / 2, slow), (size / 8, slow)):
        assert seconds(capacity) == pytest.approx(expected + activations / cache_bandwidth, rel=1e-9)


def test_what_must_fit_in_the_cache_is_the_whole_step_not_one_operator() -> None:
    size = 2 * 1000 * 500
    on = machine(caches=(MemoryLevel("L", size, 1e12),))
    assert step(product(1, 1000, 500), on=on).bytes == 0
    assert step(product(1, 1000, 500, layers=2), on=on).bytes == 2 * size


def test_activations_beyond_half_the_cache_go_to_memory() -> None:
    m, n, k = 1000, 10, 10
    activations = 2 * m * (n + k)
    small, large = (machine(caches=(MemoryLevel("L", c, 1e12),)) for c in (2 * activations - 1, 2 * activations))
    assert step(product(m, n, k), on=small).bytes == activations
    assert step(product(m, n, k), on=large).bytes == 0


def test_a_cache_slower_than_memory_does_no_harm() -> None:
    slow = machine(caches=(MemoryLevel("L", 1e9, 1.0),))
    assert step(product(1, 1000, 500), on=slow).time_s == pytest.approx(
        step(product(1, 1000, 500), on=machine()).time_s
    )


def test_a_mixture_reads_the_experts_that_are_reached() -> None:
    size, activations = 2 * 256 * 128, 2 * 6 * (256 + 128)
    for active, read in ((2.5, 2.5), (8, 8), (11, 8)):
        found = step(product(6, 256, 128, experts=8, active=active), on=machine())
        assert found.bytes == pytest.approx(size * read + activations)
        assert found.flops == 2 * 6 * 256 * 128


def test_a_mixture_with_one_token_reads_top_k_experts() -> None:
    mixtral = Model.load("mistralai/Mixtral-8x7B-v0.1")
    graph = mixtral.graph(batch=1, tokens=1, context=0)
    experts = next(o for o in graph.operators if o.name == "experts_down")
    one = evaluate(replace(graph, operators=(experts,)), machine()).bytes
    assert one == pytest.approx(32 * (2 * 2 * 4096 * 14336 + 2 * 2 * (4096 + 14336)))


@pytest.mark.parametrize("ways", [2, 3, 8])
def test_a_ring_all_reduce_sends_its_share_over_the_link(ways: int) -> None:
    reduce = Collective("all_reduce", (0, 1, 2), elements=1e6, ways=ways)
    found = step(reduce, on=machine())
    assert found.time_s == pytest.approx(3 * (2 * (ways - 1) / ways * 2e6 / 1e9 + LAUNCH), rel=1e-12)
    assert found.operators[0].bound == "link"


def test_a_machine_without_a_link_cannot_reduce() -> None:
    with pytest.raises(DovetailError, match="toy has no link") as error:
        step(Collective("all_reduce", elements=10, ways=2), on=machine(link=0.0))
    assert error.value.exit_code == INFEASIBLE


def test_attention_reads_its_cache_once_a_pass() -> None:
    decode = Attention("attention", (), (), batch=3, tokens=1, kv_len=100, heads=8, kv_heads=2, head_dim=16)
    queries, cached = 2 * 2 * 3 * 8 * 16, 2 * 2 * 3 * 100 * 2 * 16
    assert step(decode, on=machine()).bytes == queries + cached
    assert step(decode, on=machine(replace(BARE, kv_passes=3.0))).bytes == queries + 3 * cached
    assert step(replace(decode, kv_format="fp8"), on=machine()).bytes == queries + cached / 2
    assert step(decode, on=machine()).flops == 4 * 3 * 8 * 16 * 100


def test_attention_with_a_window_reads_the_keys_that_some_query_sees() -> None:
    """Brute force over the queries: query q of the newest T sees the W positions that end at its own."""
    for tokens, kv_len, window in [(1, 50, 8), (1, 5, 8), (4, 50, 8), (8, 9, 8), (50, 50, 8), (6, 6, 1)]:
        seen = {k for q in range(kv_len - tokens, kv_len) for k in range(max(0, q - window + 1), q + 1)}
        operator = Attention("attention", (), (), 1, tokens, kv_len, heads=1, kv_heads=1, head_dim=1, window=window)
        assert step(operator, on=machine()).bytes == 2 * 2 * len(seen) + 2 * 2 * tokens


def test_attention_may_reach_another_share_of_the_peak() -> None:
    slow = machine(efficiency=Efficiency(COMPUTE, MEMORY, attention=0.1))
    operator = Attention("attention", (), (), 1, 4096, 4096, heads=8, kv_heads=8, head_dim=64)
    assert step(operator, on=slow).time_s - LAUNCH == pytest.approx(10 * (step(operator, on=machine()).time_s - LAUNCH))


def test_pointwise_operands_move_once_a_pass() -> None:
    norm = Pointwise("norm", read=3000, written=1000)
    assert step(norm, on=machine(replace(BARE, pointwise_passes=2.5))).bytes == 2.5 * 2 * 4000


def test_energy_is_idle_power_and_work_up_to_the_limit() -> None:
    on = machine(replace(BARE, step_s=1e-3))
    small = step(product(1, 1000, 1000), on=on)
    dynamic = small.flops * 1e-12 + small.bytes * 1e-10
    assert small.energy_j == pytest.approx(20.0 * small.time_s + dynamic, rel=1e-12)
    hot = replace(on, j_per_flop={"bf16": 1e-9}, j_per_byte=0.0)
    capped = step(product(4000, 4000, 4000), on=hot)
    assert capped.energy_j == pytest.approx(100.0 * (capped.time_s - 1e-3) + 20.0 * 1e-3, rel=1e-12)


def test_the_public_product_is_the_operator_without_a_cache() -> None:
    on = machine(caches=(MemoryLevel("L", 1e9, 1e13),))
    found = matmul([1, 64], 3000, 2000, machine=on)
    bare = [step(product(m, 3000, 2000), on=machine()).time_s for m in (1, 64)]
    reads = [2 * 3000 * 2000 / (BANDWIDTH * MEMORY) + 2 * m * 5000 / 1e13 + LAUNCH for m in (1, 64)]
    assert found.time_s[0] == pytest.approx(reads[0])
    assert found.time_s[1] == pytest.approx(max(bare[1], reads[1]))
    assert list(found.bound) == ["memory", "compute"]
    spread = 1 + on.efficiency.spread
    np.testing.assert_allclose([found.low * spread, found.high / spread], [found.time_s] * 2, rtol=1e-12)


@pytest.mark.parametrize(("n", "k", "blocks"), [(128, 128, 1), (129, 128, 2), (3000, 2000, 24 * 16), (1, 1, 1)])
def test_blockwise_fp8_computes_as_fp8_and_reads_a_scale_for_every_block(n: int, k: int, blocks: int) -> None:
    on = machine(peak={"fp8": 2 * PEAK}, j_per_flop={"fp8": 1e-12})
    found = matmul(1, n, k, machine=on, weight="fp8_block", act="fp8_block")
    assert plain("fp8_block").payload_bytes(n, k) == n * k + 4 * blocks
    assert found.time_s == pytest.approx((n * k + 4 * blocks + n + k) / (BANDWIDTH * MEMORY) + LAUNCH, rel=1e-12)


@pytest.mark.parametrize("chip", ["h100-sxm", "b200-sxm"])
def test_blockwise_fp8_runs_on_chips_with_fp8(chip: str) -> None:
    block, plain_fp8 = (
        matmul(16384, 16384, 4096, machine=load_machine(chip), weight=d, act=d) for d in ("fp8_block", "fp8")
    )
    bound = 2 * 16384**2 * 4096 / load_machine(chip).peak["fp8"]
    assert bound < block.time_s < 3 * bound
    assert bound < plain_fp8.time_s < 3 * bound


@pytest.mark.parametrize("size", [0, -4, 0.5, float("nan"), float("inf"), [], "many", None, [1, float("nan")]])
@pytest.mark.parametrize("axis", ["m", "n", "k"])
def test_the_public_product_refuses_bad_sizes(axis: str, size: Any) -> None:
    sizes = {"m": 4, "n": 4, "k": 4, axis: size}
    with pytest.raises(DovetailError, match=f"{axis} must be at least 1"):
        matmul(**sizes, machine=machine())


def test_the_public_product_refuses_unknown_and_missing_dtypes() -> None:
    with pytest.raises(DovetailError, match="did you mean 'bf16'"):
        matmul(1, 1, 1, machine=machine(), weight="bf61")
    with pytest.raises(DovetailError, match=r"unknown act dtype 'bf61'.*did you mean 'bf16'"):
        matmul(1, 1, 1, machine=machine(), act="bf61")
    with pytest.raises(DovetailError, match="toy has no fp8 arithmetic") as error:
        matmul(1, 1, 1, machine=machine(), act="fp8", weight="fp8")
    assert error.value.exit_code == INFEASIBLE


def test_a_chip_without_bf16_computes_in_its_nearest_float() -> None:
    for peak, dtype in (({"fp16": 1e12, "fp32": 1e11}, "fp16"), ({"fp32": 1e11}, "fp32")):
        chip = machine(peak=peak, j_per_flop=dict.fromkeys(peak, 1e-12))
        assert step(product(1, 64, 64), on=chip).operators[0].dtype == dtype


def test_llama_3_8b_takes_its_published_bytes() -> None:
    """8.03 B parameters in bf16; the cache has 32 layers of 8 heads of 128, keys and values, 2 bytes each."""
    graph = Model.load("meta-llama/Meta-Llama-3-8B").graph(batch=3, tokens=1, context=4095)
    held = memory(graph, graph, machine())
    assert held.weights == 2 * 8_030_261_248
    assert held.kv_cache == 3 * 4096 * 32 * 8 * 128 * 2 * 2 == 3 * 4096 * 131_072
    assert held.activations == 2 * (3 * 3 * 4096 + 3 * (4096 + 128_256))
    assert held.workspace == 3 * 128_256 * 4
    assert held.total == held.weights + held.kv_cache + held.activations + held.workspace
    assert not held.fits


def test_activations_are_the_residual_stream_and_the_widest_product_of_the_prefill() -> None:
    model = Model.load("meta-llama/Meta-Llama-3-8B")
    held = memory(model.graph(batch=2, tokens=1024), model.graph(batch=2, tokens=1, context=1024), machine())
    assert held.activations == 2 * 2048 * (3 * 4096 + 3 * 14_336)


@pytest.mark.parametrize(("length", "wasted"), [(1, 15), (16, 0), (17, 15), (31, 1)])
def test_a_paged_cache_wastes_the_rest_of_its_last_page(length: int, wasted: int) -> None:
    cache = Cache((0, 1), 3, length, kv_heads=2, head_dim=8)
    paged = replace(machine(), stack=replace(machine().stack, page=16))
    assert page_bytes(cache, paged) == 2 * 3 * wasted * 2 * (2 * 8) * 2
    assert page_bytes(replace(cache, kind="state"), paged) == page_bytes(cache, machine()) == 0


@pytest.mark.parametrize(("length", "cached"), [(5, 5), (16, 16), (17, 16), (1000, 16)])
def test_a_window_bounds_its_cache(length: int, cached: int) -> None:
    cache = Cache((0, 1), 3, length, kv_heads=2, head_dim=8, window=16)
    assert cache_bytes(cache, machine()) == 2 * 3 * cached * 2 * (2 * 8) * 2


def test_weights_take_what_they_unpack_to_where_there_are_no_kernels() -> None:
    graph = Graph((product(1, 256, 256, packed_int(4, 64), layers=3),), (), 1, 1, 0, 256)
    held = memory(graph, graph, machine())
    assert held.weights == 3 * 256 * (128 + 8)
    assert memory(graph, graph, machine(replace(BARE, packed_weights=False))).weights == 3 * 2 * 256 * 256
    assert memory(graph, graph, machine(replace(BARE, reserve=0.25))).capacity == 0.75e9
