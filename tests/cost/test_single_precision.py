"""Products in fp32 run beside the matrix units: no kernel measured on those stands in, whose tiles are too large."""

from dataclasses import replace

import numpy as np
import pytest

from dovetail.cost import evaluate, matmul
from dovetail.cost.gpu import model_of
from dovetail.design.trust import trust
from dovetail.hardware import load_machine
from dovetail.model import Model
from dovetail.model.operators import Linear, Weight

GPUS = ["a100-sxm", "h100-sxm", "l40s", "mi210", "arc-b60"]
SLOWEST = 2.5  # times the datasheet: the lowest efficiency of these chips' files is half, and there is a launch


@pytest.mark.parametrize("on", GPUS)
def test_one_row_takes_as_long_as_its_weights_take_to_read(on: str) -> None:
    found = matmul(1, 8192, 8192, machine=on, weight="fp32", act="fp32").time_s
    least = 4 * 8192 * 8192 / load_machine(on).memory.bandwidth
    assert least < found < SLOWEST * least


@pytest.mark.parametrize("on", GPUS)
def test_many_rows_take_as_long_as_the_peak_allows(on: str) -> None:
    found = matmul(4096, 8192, 8192, machine=on, weight="fp32", act="fp32").time_s
    least = 2 * 4096 * 8192 * 8192 / load_machine(on).peak["fp32"]
    assert least < found < SLOWEST * least


@pytest.mark.parametrize("weight", ["int8", "bf16"])
def test_no_kernel_of_16_bits_unpacks_for_it(weight: str) -> None:
    wide = matmul(1, 8192, 8192, machine="a100-sxm", weight="fp32", act="fp32").time_s
    assert matmul(1, 8192, 8192, machine="a100-sxm", weight=weight, act="fp32").time_s < wide


def test_a_model_stored_in_fp32_decodes_at_the_speed_of_its_weights() -> None:
    chip, graph = load_machine("a100-sxm"), Model.load("AntonV/mamba2-1.3b-hf").graph(batch=1, tokens=1, context=100)
    products = [o for o in graph.operators if isinstance(o, Linear)]
    assert {(model_of(o, chip), o.act) for o in products} == {("roofline", "fp32")}
    stored = sum(float(np.sum(w.payload_bytes)) * o.repeat for o in products for w in o.weights)
    assert stored / chip.memory.bandwidth < evaluate(graph, chip).time_s < 3 * stored / chip.memory.bandwidth


def test_nobody_measured_it() -> None:
    chip = load_machine("a100-sxm")
    known = trust(Model.load("AntonV/mamba2-1.3b-hf").graph(), chip, 1)
    assert known.models == ("roofline",)
    assert known.kind("tpot") == "modelled"
    assert known.factor("tpot") == 1 + chip.efficiency.spread


def test_what_tables_say_of_it_prices_it() -> None:
    chip = load_machine("a100-sxm")
    assert chip.kernels is not None
    measured = replace(chip.kernels, gemm={**chip.kernels.gemm, "fp32": chip.kernels.gemm["bf16"]})
    product = Linear(name="p", weights=(Weight("w", 64, 64),), m=1, k=64, n=64, act="fp32")
    assert model_of(product, chip) == "roofline"
    assert model_of(product, replace(chip, kernels=measured)) == "gemm.fp32"
