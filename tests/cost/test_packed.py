"""Products with packed weights on a CPU: priced by their closed form, only where a model runs on the kernels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core.formats import NVFP4, Format, packed_int, plain
from dovetail.cost import evaluate, memory
from dovetail.cost.packed import executed, held_bytes, kernel_of, width_of
from dovetail.hardware import Machine
from dovetail.hardware.host import host_machine
from dovetail.hardware.packed import KERNELS, Packed, PackedProduct
from dovetail.model import Model
from dovetail.model.graph import Graph, Linear, Weight
from dovetail.recipe.recipe import Recipe

PRODUCTS = {name: PackedProduct((1 + i) * 1e-12, (1 + i) * 1e11) for i, name in enumerate(KERNELS)}
LLAMA = Model.load("meta-llama/Llama-3.2-1B")


@pytest.fixture(scope="module")
def host() -> Machine:
    machine = host_machine()
    packed = Packed(launch_s=3e-6, rows=8.0, bandwidth=2e10, products=PRODUCTS)
    return replace(machine, packed=packed, stack=replace(machine.stack, step_s=0.0))


def product(form: Format, m: int, n: int, k: int, act: str = "fp32", experts: int = 1) -> Graph:
    weight = Weight("w", n, k, form, experts)
    operator = Linear("product", (), (weight,), m, k, n, act, experts, 1, otherwise="fp32" if act == "int8" else "")
    return Graph((operator,), (), m, 1, 0, k)


@given(st.integers(1, 300), st.integers(1, 5000), st.integers(1, 5000), st.sampled_from(range(len(KERNELS))))
def test_time_is_the_longer_of_the_arithmetic_and_the_stream(m: int, n: int, k: int, which: int) -> None:
    kernel, machine = KERNELS[which], host_machine()
    machine = replace(
        machine, caches=(), stack=replace(machine.stack, step_s=0.0), packed=Packed(3e-6, 8.0, 2e10, PRODUCTS)
    )
    bits, act = int(kernel[3]), "int8" if kernel.endswith("-int8") else "fp32"
    known = PRODUCTS[kernel]
    compute = -(-m // 8) * n * k * known.weight_s + 2.0 * m * n * k / known.peak
    stream = (n * k * bits / 8 + 4 * n * -(-k // 32) + 4 * m * (n + k)) / 2e10
    found = evaluate(product(packed_int(bits, 32), m, n, k, act), machine).time_s
    assert found == pytest.approx(max(compute, stream) + 3e-6, rel=1e-12)


@pytest.mark.parametrize(
    ("form", "width"),
    [
        (packed_int(2), 4), (packed_int(4), 4), (packed_int(5), 8), (packed_int(8, 0), 8),
        (replace(plain("int8"), block=(1, 0)), 8), (replace(plain("int8"), block=(1, 32)), 8), (plain("int8"), 0),
        (replace(plain("fp8"), block=(1, 0)), 0), (NVFP4, 0), (plain("bf16"), 0),
        (replace(packed_int(4), order=True), 0), (replace(packed_int(8), extra=2), 0),
    ],
)  # fmt: skip
def test_what_the_kernels_take_and_hold(form: Format, width: int) -> None:
    assert width_of(form) == width


def test_bytes_in_memory_are_those_of_the_kernels() -> None:
    """As `PackedLinear.stored_bytes` counts them, where rows fill tiles and columns steps."""
    assert held_bytes(packed_int(3, 32), 64, 96) == 64 * 96 // 2 + 64 * 3 * 4
    assert held_bytes(replace(packed_int(4, 0), zeros=True), 64, 96) == 64 * 96 // 2 + 64 * 2 * 4
    assert held_bytes(replace(plain("int8"), block=(1, 0)), 64, 96) == 64 * 96 + 64 * 4


def test_a_model_runs_on_them_as_a_whole_or_not(host: Machine) -> None:
    for graph in (product(packed_int(4), 1, 64, 64, experts=2), product(NVFP4, 1, 64, 64), LLAMA.graph()):
        assert executed(graph, host).packed is None
        assert executed(graph, host).stack == host.stack
    packed = Recipe.load("w4a16-rtn").rewrite(LLAMA.graph())
    found = executed(packed, host)
    assert found.stack.launch_s == 3e-6
    assert executed(packed, found) == found
    assert {kernel_of(o, found) for o in packed.operators if isinstance(o, Linear)} == {"int4", ""}


def test_activations_rounded_by_choice_are_priced_so(host: Machine) -> None:
    assert host.packed is not None
    rounding = replace(host, packed=replace(host.packed, rounds=True))
    graph = Recipe.load("w8a16").rewrite(LLAMA.graph())
    kernels = [{kernel_of(o, m) for o in graph.operators if isinstance(o, Linear)} for m in (host, rounding)]
    assert kernels == [{"int8", ""}, {"int8-int8", ""}]
    w8a8 = Recipe.load([{"rtn": {"bits": 8, "group": 0, "act_bits": 8}}]).rewrite(LLAMA.graph())
    assert {kernel_of(o, host) for o in w8a8.operators if isinstance(o, Linear)} == {"int8-int8", ""}


def test_a_machine_without_them_unpacks(host: Machine) -> None:
    dense, packed = LLAMA.graph(), Recipe.load("w4a16-rtn").rewrite(LLAMA.graph())
    without = replace(host, packed=None)
    assert evaluate(packed, without).time_s == evaluate(dense, without).time_s
    assert memory(packed, packed, without).weights == memory(dense, dense, without).weights
    assert memory(packed, packed, host).weights < 0.6 * memory(dense, dense, host).weights  # the embedding stays


def test_more_rows_never_take_less_time(host: Machine) -> None:
    rows = np.arange(1, 200)
    for bits in (4, 8):
        times = np.asarray(evaluate(product(packed_int(bits, 32), rows, 700, 900), host).time_s)  # type: ignore[arg-type]
        assert (np.diff(times) >= 0).all()
