"""Products with packed weights on a CPU: priced by their closed form, only where a model runs on the kernels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovetail.core import present
from dovetail.core.errors import DovetailError
from dovetail.core.formats import NVFP4, Format, packed_int, plain
from dovetail.cost import evaluate, matmul, memory
from dovetail.cost.packed import executed, held_bytes, kernel_of, width_of
from dovetail.hardware import Machine, load_machine
from dovetail.hardware.host import host_machine
from dovetail.hardware.packed import KERNELS, Packed, PackedProduct
from dovetail.model import Model
from dovetail.model.graph import Graph
from dovetail.model.operators import Linear, Weight
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


@pytest.mark.parametrize(("weight", "act"), [("int4", "fp32"), ("int4", "int8"), ("int8", "fp32"), ("int8", "int8")])
def test_a_product_alone_is_that_of_its_kernel(weight: str, act: str) -> None:
    machine = host_machine()
    machine = replace(
        machine, caches=(), stack=replace(machine.stack, step_s=0.0), packed=Packed(3e-6, 8.0, 2e10, PRODUCTS)
    )
    known = PRODUCTS[weight + ("-int8" if act == "int8" else "")]
    compute = 2 * 640 * 1280 * known.weight_s + 2.0 * 9 * 640 * 1280 / known.peak  # nine rows: two passes
    groups = 10 if weight == "int4" else 1
    stream = (640 * 1280 * int(weight[3]) / 8 + 4 * 640 * groups + 4 * 9 * (640 + 1280)) / 2e10
    found = matmul(9, 640, 1280, machine=machine, weight=weight, act=act).time_s
    assert found == pytest.approx(max(compute, stream) + 3e-6, rel=1e-12)


def test_a_dense_product_keeps_the_launch_of_torch(host: Machine) -> None:
    plain, without = (matmul(1, 1, 1, machine=m, weight="fp32", act="fp32") for m in (host, replace(host, packed=None)))
    assert plain.time_s == without.time_s


def test_this_computer_has_them_where_they_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # not calibrated
    with monkeypatch.context() as inner:
        inner.setitem(present._KNOWN, "packed kernels", lambda: True)
        there = matmul(1, 4096, 4096, machine="host", weight="int4", act="fp32").time_s
        assert load_machine("2 x host").packed is not None
    monkeypatch.setenv("DOVETAIL_KERNELS", "off")
    assert load_machine("host").packed is None
    gone = matmul(1, 4096, 4096, machine="host", weight="int4", act="fp32").time_s
    assert gone == matmul(1, 4096, 4096, machine="host", weight="fp32", act="fp32").time_s
    assert gone > 2 * there
    with pytest.raises(DovetailError, match="no int8 arithmetic"):
        matmul(1, 64, 64, machine="host", weight="int4", act="int8")


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
